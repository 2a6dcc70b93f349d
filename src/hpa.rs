//! The HorizontalPodAutoscaler's arithmetic.
