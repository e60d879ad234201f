"""What the networks are attacked with: pasted unknown objects and adversarial perturbations."""
