//! The chart, the kustomization and the policies in them, as helm, kubectl, Kubernetes' schemas and CEL
//! take them; and that they fit the agent: its flags, its rights.

mod pages;
mod policies;
mod rendered;
mod rights;
mod values;
