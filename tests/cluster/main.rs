//! The tests against a real control plane: etcd, kube-apiserver, kube-controller-manager and kubectl, with pods that are
//! real processes. All of it lives in namespaces of its own and ends with this process. The tests run one after another
//! and share one cluster, so this binary has a main of its own that takes the arguments of `cargo test`.

mod adapter;
mod authentication;
mod certificate;
mod conformance;
mod control_plane;
mod discovery;
mod harness;
mod pods;
mod scaling;
mod status;
mod uninstall;

use std::process::ExitCode;

fn main() -> ExitCode {
    harness::main(vec![
        adapter::tests(),
        authentication::tests(),
        certificate::tests(),
        conformance::tests(),
        control_plane::tests(),
        discovery::tests(),
        pods::tests(),
        scaling::tests(),
        status::tests(),
        // It takes away what the others share.
        uninstall::tests(),
    ])
}
