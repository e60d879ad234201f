"""LaREM and LaRED: densities of latent entropies (Arnez et al., UAI 2024)."""
