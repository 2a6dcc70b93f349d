//! The Kubernetes label selector: parsed from a query string, matched against labels.
