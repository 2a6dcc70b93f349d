//! What every test of this binary stands on: a cluster to test against, and the runner that hands it to each test.
//!
//! | file | what is in it |
//! |---|---|
//! | `runner` | the tables of tests, their names, and what a failure prints |
//! | `sandbox` | the namespaces that everything runs in, and how nothing outlives them |
//! | `cluster` | what a test is given |
//! | `control_plane` | etcd, kube-apiserver and kube-controller-manager as processes |
//! | `kubelet` | the node: pods as processes on addresses of their own |
//! | `resource_metrics` | `metrics.k8s.io`, from the CPU and memory of those processes |
//! | `sample` | the sample app as a Deployment and a Service |
//! | `https` | servers behind the aggregation layer |
//! | `load` | users of a Service |
//! | `node_port` | a Service's address for pods that call it |
//! | `redis` | a Redis server for any value of a metric |
//! | `record` | everything that an object was |
//! | `hpa` | what a HorizontalPodAutoscaler says of itself |
//! | `pki` | the authorities, and a certificate for anybody |
//! | `kubectl` | kubectl, as anybody |
//! | `process` | one process with its log |
//! | `wait` | waiting for something, with a deadline and a reason |

mod cluster;
mod control_plane;
pub(crate) mod hpa;
pub(crate) mod https;
mod kubectl;
mod kubelet;
mod load;
mod node_port;
pub(crate) mod pki;
mod process;
mod record;
mod redis;
mod resource_metrics;
mod runner;
pub(crate) mod sample;
mod sandbox;
mod wait;

pub(crate) use cluster::Cluster;
pub(crate) use control_plane::HpaSettings;
pub(crate) use load::Load;
pub(crate) use node_port::NodePort;
pub(crate) use record::Record;
pub(crate) use redis::{NETWORK as REDIS_NETWORK, Redis};
pub(crate) use runner::{Table, main, table};
pub(crate) use sandbox::{NODE_ADDRESS, bin_dir};
pub(crate) use wait::{is_ready, until};
