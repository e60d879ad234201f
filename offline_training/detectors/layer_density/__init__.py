"""Class-conditional densities of pooled taps: Mahalanobis and Residual Flow."""
