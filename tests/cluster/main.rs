//! The tests against a real control plane: etcd, kube-apiserver, kube-controller-manager and kubectl, with pods that are
//! real processes. All of it lives in namespaces of its own and ends with this process. The tests share one cluster, so this
//! binary has a main of its own that takes the arguments of `cargo test`; those that disturb others have a second cluster.

mod adapter;
mod authentication;
mod certificate;
mod coexistence;
mod conformance;
mod control_plane;
mod custom;
mod discovery;
mod documents;
mod explain;
mod harness;
mod install;
mod lint;
mod loadtest;
mod objects;
mod pods;
mod replays;
mod rollouts;
mod samples;
mod scaling;
mod seeds;
mod service;
mod shadow;
mod status;
mod tenancy;
mod tune;
mod uninstall;

use std::process::ExitCode;

fn main() -> ExitCode {
    harness::main(&[
        // The longest first, so that the others run meanwhile.
        seeds::tests(),
        rollouts::tests(),
        adapter::tests(),
        authentication::tests(),
        certificate::tests(),
        coexistence::tests(),
        conformance::tests(),
        control_plane::tests(),
        custom::tests(),
        discovery::tests(),
        lint::tests(),
        explain::tests(),
        loadtest::tests(),
        objects::tests(),
        pods::tests(),
        replays::tests(),
        samples::tests(),
        scaling::tests(),
        shadow::tests(),
        status::tests(),
        tenancy::tests(),
        tune::tests(),
        // They take away what the others share.
        uninstall::tests(),
        // And it puts another in its place.
        install::tests(),
        documents::tests(),
    ])
}
