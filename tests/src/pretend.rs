//! Pretend AWS and Kubernetes servers, as strict as the real ones where podrole could get it wrong.
//!
//! The binary `podrole-pretend` runs one of them per process, so that each can live in a network
//! namespace of its own. A test steers it by the control endpoints under `/_pretend/`, and reads
//! with [`log::read`] what arrived.
//!
//! - [`sts`]: AssumeRole, `AssumeRoleWithWebIdentity` and `GetCallerIdentity`, parameters, signatures and
//!   tokens checked; EKS's `AssumeRoleForPodIdentity` as well
//! - [`metadata`]: the EC2 instance metadata service of the node
//! - [`kube2iam`]: what pods have before podrole
//! - [`kubernetes`]: lists, watches and writes of the few resources that podrole uses

pub mod kube2iam;
pub mod kubernetes;
pub mod log;
pub mod metadata;
pub mod node;
pub mod random;
pub mod serve;
pub mod service_account;
pub mod sts;
