//! podrole on one pretend node: pods as network namespaces in cgroups, pretend AWS and Kubernetes
//! servers, real clients, and the real agent as a child process.
//!
//! ```text
//!  pod 10.0.1.11 ── veth ── node 10.0.0.10 ── veth ── outside 10.0.0.1: STS
//!  fd00:a:1::11             fd00:a::10                169.254.169.254, fd00:ec2::254: metadata service
//!  (one per pod)            agent, API server         169.254.170.23, 169.254.169.253: bystanders
//! ```
//!
//! Everything of one [`cluster::Cluster`] carries a name of its own, so clusters run side by side, in
//! one test process or several. Kernel tests need root, cgroup2 and iproute2, and say so.

pub mod agent;
pub mod aws;
pub mod bench;
pub mod bpf;
pub mod bpffs;
pub mod bridge;
pub mod bulk;
pub mod carried;
pub mod cgroup;
pub mod chart;
pub mod clients;
pub mod clock;
pub mod cluster;
pub mod curl;
pub mod dashboard;
pub mod docs;
pub mod engine;
pub mod expect;
pub mod first;
pub mod hammer;
pub mod http;
pub mod kube2iam;
pub mod kubelet;
pub mod kubernetes;
pub mod leaks;
pub mod leftovers;
pub mod load;
pub mod netns;
pub mod openmetrics;
pub mod place;
pub mod pod;
pub mod pretend;
pub mod probe;
pub mod process;
pub mod prometheus;
pub mod reach;
pub mod sniffer;
pub mod soak;
pub mod steady;
pub mod terminal;
mod uplink;
pub mod vectors;
pub mod volumes;
pub mod wait;
