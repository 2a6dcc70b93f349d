//! What the unmodified HPA controller makes of what the adapter serves: the last assertions of the checklist of the
//! external metrics contract, by number. The metric is a backlog, a number in a real Redis, so that a test gives it any
//! value; the pods are objects without processes, so that a test says how many of them are ready.
//!
//! A cluster keeps the highest recommendation for 5 minutes and looks every 15 s; here it is 5 s and 2 s. Where the
//! checklist says "for longer than 5 minutes", these tests outlast the 5 s.

mod bench;
mod slow;

use std::time::Duration;

use anyhow::{Context, ensure};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::Api;
use serde_json::{Value, json};
use taffrail::clock;

use self::bench::{Bench, SOON, Target, autoscaler, backlog, deployment, jobs_of, list};
use self::slow::SlowAdapter;
use crate::adapter;
use crate::harness::{Cluster, Record, Table, hpa, table, until};

/// Longer than the highest recommendation is kept, by more than two looks at each HPA.
const OUTLASTS_STABILIZATION: Duration = Duration::from_secs(10);

/// Until the API server believes an adapter that is ready again.
const BELIEVED_AGAIN: Duration = Duration::from_secs(30);

/// How late the slow adapter of the last assertion answers.
const LATE: Duration = Duration::from_secs(5);

/// HPAs that read the slow adapter: four for each of the controller's five workers, so that some always wait.
const NEIGHBOURS: usize = 20;

pub(crate) fn tests() -> Table {
    table!("conformance";
        assertion_69_the_controller_decides_as_the_worked_examples_say,
        assertion_70_a_removed_metric_freezes_the_replicas_and_says_why,
        assertion_71_a_broken_metric_stops_scaling_in_and_not_out,
        assertion_72_a_zero_reaches_the_minimum_once_stabilization_is_over,
        assertion_73_a_name_in_upper_case_arrives_in_lower_case;
        alone:
        assertion_74_a_killed_adapter_is_unavailable_and_soon_back_and_costs_no_replica,
        assertion_75_an_adapter_that_answers_in_5_s_delays_hpas_that_do_not_read_it,
    )
}

/// A worked example of the contract's section 3.10.
struct Example {
    number: u32,
    /// Pods wanted and there.
    replicas: u32,
    ready: usize,
    /// What the items of the metric are.
    items: &'static [&'static str],
    target: Target,
    /// What is to be wanted next, after limits.
    desired: i32,
}

/// The examples of the checklist; limits are 1 and 20, and at most twice the pods at once.
const EXAMPLES: [Example; 16] = {
    const fn by_value(number: u32, items: &'static [&'static str], desired: i32) -> Example {
        Example {
            number,
            replicas: 4,
            ready: 4,
            items,
            target: Target::Value("500m"),
            desired,
        }
    }
    const fn by_average(number: u32, items: &'static [&'static str], desired: i32) -> Example {
        let target = Target::Average("100");
        Example {
            target,
            ..by_value(number, items, desired)
        }
    }
    [
        by_value(1, &["0.5"], 4),
        by_value(2, &["0.55"], 4),
        by_value(3, &["0.551"], 5),
        by_value(4, &["0.45"], 4),
        by_value(5, &["0.449"], 4),
        by_value(6, &["0.75"], 6),
        Example {
            replicas: 10,
            ready: 5,
            ..by_value(7, &["0.75"], 8)
        },
        // None is proposed, which the minimum makes one.
        Example {
            replicas: 10,
            ready: 0,
            ..by_value(8, &["0.9"], 1)
        },
        // Sixteen are proposed, which is more than twice as many.
        by_value(9, &["2"], 8),
        by_average(23, &["400"], 4),
        by_average(24, &["440"], 4),
        by_average(25, &["440.001"], 5),
        by_average(26, &["360"], 4),
        by_average(27, &["359.999"], 4),
        by_average(28, &["250"], 3),
        by_average(29, &["100", "150", "250"], 5),
    ]
};

impl Example {
    /// Of its Deployment and HPA.
    fn name(&self) -> String {
        format!("example-{}", self.number)
    }

    /// The keys of its items.
    fn keys(&self) -> Vec<String> {
        (0..self.items.len())
            .map(|item| format!("example-{}-{item}", self.number))
            .collect()
    }
}

async fn assertion_69_the_controller_decides_as_the_worked_examples_say(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let keys: Vec<String> = EXAMPLES.iter().flat_map(Example::keys).collect();
    let bench = Bench::start(cluster, "examples", &keys).await?;
    for example in &EXAMPLES {
        for (key, value) in example.keys().iter().zip(example.items) {
            bench.redis.set(key, value)?;
        }
    }
    let deployments: Vec<Value> = EXAMPLES
        .iter()
        .map(|example| deployment(&example.name(), example.replicas))
        .collect();
    bench.apply(&list(&deployments)).await?;
    for example in &EXAMPLES {
        let (replicas, ready) = (example.replicas, example.ready);
        bench.pods(&example.name(), replicas, ready).await?;
    }
    // No stabilization, so that the first decision counts; and what is limited once stays so for the test. Pods that
    // are added stay unready, and with them every example wants the same again.
    let behavior = json!({
        "scaleUp": {"policies": [{"type": "Percent", "value": 100, "periodSeconds": 1800}]},
        "scaleDown": {"stabilizationWindowSeconds": 0},
    });
    let autoscalers: Vec<Value> = EXAMPLES
        .iter()
        .map(|example| {
            let metric = backlog("work", &example.keys(), example.target);
            let mut autoscaler = autoscaler(&example.name(), &[metric]);
            autoscaler["spec"]["behavior"] = behavior.clone();
            autoscaler
        })
        .collect();
    bench.apply(&list(&autoscalers)).await?;

    let mut decided = Vec::new();
    for example in &EXAMPLES {
        let desired = until("a decision", SOON, async || {
            let hpa = bench.hpa(&example.name()).await?;
            // The value and what follows from it are written together.
            hpa::external(&hpa).with_context(|| format!("{:?}", hpa.status))?;
            Ok(hpa.status.map(|status| status.desired_replicas))
        });
        decided.push((example.number, desired.await?.context("no status")?));
    }
    let table: Vec<(u32, i32)> = EXAMPLES
        .iter()
        .map(|example| (example.number, example.desired))
        .collect();
    assert_eq!(decided, table);
    Ok(())
}

async fn assertion_70_a_removed_metric_freezes_the_replicas_and_says_why(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let bench = Bench::of_jobs(cluster, "removed", "3", 3).await?;
    bench.apply(&autoscaler("work", &[jobs_of("work")])).await?;
    bench.until_active("True", "ValidMetricFound").await?;
    let replicas = bench.replicas().await?;

    let delete = ["delete", "requestmetrics/work", "--namespace"];
    let delete = delete.into_iter().chain([bench.namespace.as_str()]);
    cluster.kubectl().run(delete).await?;
    let message = bench.until_active("False", "FailedGetExternalMetric");
    let message = message.await?;
    assert!(message.contains("no RequestMetrics"), "{message}");
    tokio::time::sleep(OUTLASTS_STABILIZATION).await;
    bench
        .until_active("False", "FailedGetExternalMetric")
        .await?;
    assert_eq!(replicas.seen(), [3]);
    Ok(())
}

async fn assertion_71_a_broken_metric_stops_scaling_in_and_not_out(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let bench = Bench::of_jobs(cluster, "broken", "4", 2).await?;
    let metrics = [jobs_of("nobody"), jobs_of("work")];
    bench.apply(&autoscaler("work", &metrics)).await?;
    bench.until_replicas(4).await?;
    // The broken one says that it is, and yet this one scales.
    bench.until_active("True", "ValidMetricFound").await?;

    let replicas = bench.replicas().await?;
    bench.redis.set("jobs", "1")?;
    bench
        .until_active("False", "FailedGetExternalMetric")
        .await?;
    tokio::time::sleep(OUTLASTS_STABILIZATION).await;
    bench
        .until_active("False", "FailedGetExternalMetric")
        .await?;
    assert_eq!(replicas.seen(), [4]);
    Ok(())
}

async fn assertion_72_a_zero_reaches_the_minimum_once_stabilization_is_over(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let bench = Bench::of_jobs(cluster, "zero", "3", 3).await?;
    bench.apply(&autoscaler("work", &[jobs_of("work")])).await?;
    bench.until_active("True", "ValidMetricFound").await?;
    let hpas = Api::<HorizontalPodAutoscaler>::namespaced(cluster.admin(), &bench.namespace);
    let able = Record::start(hpas, "work", |hpa| {
        let able = hpa::condition(hpa, "AbleToScale");
        let reason = able.and_then(|able| able.reason.clone());
        reason.unwrap_or_default()
    })
    .await?;
    let replicas = bench.replicas().await?;

    bench.redis.set("jobs", "0")?;
    bench.until_replicas(1).await?;
    assert_eq!(replicas.seen(), [3, 1]);
    let able = able.seen();
    assert!(able.contains(&"ScaleDownStabilized".to_owned()), "{able:?}");
    Ok(())
}

async fn assertion_73_a_name_in_upper_case_arrives_in_lower_case(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let bench = Bench::of_jobs(cluster, "case", "2", 1).await?;
    let named = |name: &str| {
        let mut metric = jobs_of("work");
        metric["external"]["metric"]["name"] = name.into();
        autoscaler("work", &[metric])
    };
    // An unknown name is repeated as it arrived: from kubectl as it was written, from the HPA controller not.
    let unknown = "No_Such_Metric";
    let read = adapter::read(cluster, &bench.namespace, unknown, "service=work");
    let refused = read.await?.expect_err("an unknown name");
    assert!(
        refused.contains("no metric \"No_Such_Metric\""),
        "{refused}"
    );
    bench.apply(&named(unknown)).await?;
    let message = bench.until_active("False", "FailedGetExternalMetric");
    let message = message.await?;
    assert!(
        message.contains("no metric \"no_such_metric\""),
        "{message}"
    );

    bench.apply(&named("Redis_Backlog")).await?;
    bench.until_replicas(2).await
}

async fn assertion_74_a_killed_adapter_is_unavailable_and_soon_back_and_costs_no_replica(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let bench = Bench::of_jobs(cluster, "killed", "3", 3).await?;
    bench.apply(&autoscaler("work", &[jobs_of("work")])).await?;
    bench.until_active("True", "ValidMetricFound").await?;
    let replicas = bench.replicas().await?;
    let kubectl = cluster.kubectl();
    let target = ["deployment/taffrail", "--namespace", adapter::NAMESPACE];
    let wait = |status: &str, within: Duration| {
        let condition = format!("--for=condition=Available={status}");
        let timeout = format!("--timeout={}s", within.as_secs());
        let service = "apiservice/v1beta1.external.metrics.k8s.io".to_owned();
        kubectl.run(["wait".to_owned(), condition, timeout, service])
    };

    // None is started again, so that it is to be seen.
    kubectl
        .run(["scale", "--replicas=0"].iter().chain(&target))
        .await?;
    let pods = ["delete", "pods", "--all", "--grace-period=0", "--force"];
    kubectl.run(pods.iter().chain(&target[1..])).await?;
    wait("False", SOON).await?;
    bench
        .until_active("False", "FailedGetExternalMetric")
        .await?;
    tokio::time::sleep(OUTLASTS_STABILIZATION).await;

    kubectl
        .run(["scale", "--replicas=2"].iter().chain(&target))
        .await?;
    let status = ["rollout", "status", "--timeout=90s"];
    kubectl.run(status.iter().chain(&target)).await?;
    wait("True", BELIEVED_AGAIN).await?;
    bench.until_active("True", "ValidMetricFound").await?;
    assert_eq!(replicas.seen(), [3]);
    Ok(())
}

async fn assertion_75_an_adapter_that_answers_in_5_s_delays_hpas_that_do_not_read_it(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let bench = Bench::of_jobs(cluster, "slow", "1", 1).await?;
    let names: Vec<String> = (0..NEIGHBOURS)
        .map(|nth| format!("neighbour-{nth}"))
        .collect();
    let deployments: Vec<Value> = names.iter().map(|name| deployment(name, 1)).collect();
    bench.apply(&list(&deployments)).await?;
    let autoscalers: Vec<Value> = names
        .iter()
        .map(|name| autoscaler(name, &[jobs_of("work")]))
        .collect();
    bench.apply(&list(&autoscalers)).await?;
    until("neighbours that read", SOON, async || {
        for name in &names {
            let hpa = bench.hpa(name).await?;
            hpa::external(&hpa).with_context(|| format!("{:?}", hpa.status))?;
        }
        Ok(())
    })
    .await?;

    let with_ours = first_decision(&bench, "cpu-fast").await?;
    let slow = SlowAdapter::start(cluster, &bench.namespace, LATE).await?;
    until("every worker to wait", SOON, async || {
        ensure!(NEIGHBOURS / 4 <= slow.reads(), "{} reads", slow.reads());
        Ok(())
    })
    .await?;
    let with_slow = first_decision(&bench, "cpu-slow").await?;
    adapter::installed(cluster).await?;
    assert!(
        with_ours + LATE / 2 < with_slow,
        "{with_ours:?}, {with_slow:?}"
    );
    Ok(())
}

/// How long a new HPA that reads CPU only waits for its turn: it raises the replicas to its minimum.
async fn first_decision(bench: &Bench<'_>, name: &str) -> anyhow::Result<Duration> {
    bench.apply(&deployment(name, 1)).await?;
    bench.pods(name, 1, 1).await?;
    let target = json!({"type": "Utilization", "averageUtilization": 70});
    let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": target}});
    let mut autoscaler = autoscaler(name, &[cpu]);
    autoscaler["spec"]["minReplicas"] = 2.into();
    let start = clock::instant();
    bench.apply(&autoscaler).await?;
    until("the minimum", SOON, async || {
        let replicas = hpa::replicas(&bench.deployments().get(name).await?);
        ensure!(replicas == 2, "{replicas}");
        Ok(start.elapsed())
    })
    .await
}
