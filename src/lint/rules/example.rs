//! Words for the examples of rules: whole documents, made of what differs between them. Macros, since an example is a
//! constant of its rule.

/// An HPA of users: the lines of its spec.
macro_rules! hpa {
    ($($line:expr),+ $(,)?) => {
        hpa_of!("autoscaling/v2", "{name: users}", "{apiVersion: apps/v1, kind: Deployment, name: users}", $($line),+)
    };
}

/// Any HPA: its version, its metadata, what it scales, and the lines of its spec.
macro_rules! hpa_of {
    ($version:expr, $metadata:expr, $target:expr, $($line:expr),+ $(,)?) => {
        concat!(
            "apiVersion: ", $version, "\nkind: HorizontalPodAutoscaler\nmetadata: ", $metadata, "\nspec:\n",
            "  scaleTargetRef: ", $target, "\n",
            $("  ", $line, "\n",)+
        )
    };
}

/// A RequestMetrics of users with another source: what is said of its pods.
macro_rules! service_of {
    ($pods:expr $(, $line:expr)* $(,)?) => {
        concat!(
            "apiVersion: taffrail.dev/v1alpha1\nkind: RequestMetrics\nmetadata: {name: users}\nspec:\n",
            "  source: {pods: {", $pods, "}}\n",
            $("  ", $line, "\n",)*
        )
    };
}

/// Another Deployment: its name, further lines of its spec, and further lines of its container.
macro_rules! workload {
    ($name:expr, $labels:expr, $spec:expr, $container:expr) => {
        concat!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: ",
            $name,
            "}\nspec:\n",
            $spec,
            "  selector: {matchLabels: {",
            $labels,
            "}}\n  template:\n    metadata: {labels: {",
            $labels,
            "}}\n",
            "    spec:\n      containers:\n      - name: ",
            $name,
            "\n",
            $container
        )
    };
}

/// The APIService of external metrics: its name, whom it leads to, and further lines.
macro_rules! apiservice {
    ($name:expr, $service:expr, $more:expr) => {
        concat!(
            "apiVersion: apiregistration.k8s.io/v1\nkind: APIService\nmetadata: {name: ",
            $name,
            "}\nspec:\n",
            "  group: external.metrics.k8s.io\n  version: v1beta1\n",
            "  groupPriorityMinimum: 100\n  versionPriority: 100\n",
            "  service: {",
            $service,
            "}\n",
            $more
        )
    };
}

/// KEDA's object for a Deployment of the same name.
macro_rules! scaled_object {
    ($name:expr) => {
        concat!(
            "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: ",
            $name,
            "}\nspec:\n  scaleTargetRef: {name: ",
            $name,
            "}\n  triggers: [{type: cpu, metricType: Utilization, metadata: {value: \"60\"}}]\n"
        )
    };
}

/// A VerticalPodAutoscaler of users: further lines of its spec.
macro_rules! vertical {
    ($more:expr) => {
        concat!(
            "apiVersion: autoscaling.k8s.io/v1\nkind: VerticalPodAutoscaler\nmetadata: {name: users}\nspec:\n",
            "  targetRef: {apiVersion: apps/v1, kind: Deployment, name: users}\n",
            $more
        )
    };
}

/// An external metric of an HPA.
macro_rules! external {
    ($metric:expr, $target:expr) => {
        concat!(
            "- type: External\n    external:\n      metric: {",
            $metric,
            "}\n      target: {",
            $target,
            "}"
        )
    };
}

/// The quantile of users.
macro_rules! p95 {
    ($target:expr) => {
        external!(
            "name: request_latency_ms, selector: {matchLabels: {service: users, quantile: \"0.95\"}}",
            $target
        )
    };
}

/// The rate of users.
macro_rules! rate {
    ($target:expr) => {
        external!(
            "name: request_rate, selector: {matchLabels: {service: users}}",
            $target
        )
    };
}

/// The CPU of an HPA's pods.
macro_rules! cpu {
    () => {
        "- type: Resource\n    resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}"
    };
}

/// The CPU of one container.
macro_rules! cpu_of {
    ($container:expr) => {
        concat!(
            "- type: ContainerResource\n    containerResource:\n      name: cpu\n      container: ",
            $container,
            "\n      target: {type: Utilization, averageUtilization: 70}"
        )
    };
}

/// The RequestMetrics of users: the lines of its spec but the source.
macro_rules! service {
    ($($line:expr),* $(,)?) => {
        service_of!(
            "selector: {matchLabels: {app: users}}, port: http, inFlight: http_requests_in_flight"
            $(, $line)*
        )
    };
}

/// The Deployment of users: lines of its spec, and what its container says beside its name and port.
macro_rules! deployment {
    ($spec:expr, $container:expr) => {
        concat!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: users}\nspec:\n",
            $spec,
            "  selector: {matchLabels: {app: users}}\n",
            "  template:\n    metadata: {labels: {app: users}}\n    spec:\n      containers:\n",
            "      - name: users\n        ports: [{name: http, containerPort: 8080}]\n",
            $container
        )
    };
}

/// Several documents.
macro_rules! documents {
    ($first:expr $(, $next:expr)+ $(,)?) => {
        concat!($first $(, "---\n", $next)+)
    };
}

/// A right HPA: what load costs in CPU, and what users wait.
macro_rules! right_hpa {
    () => {
        hpa!(
            "minReplicas: 2",
            "maxReplicas: 10",
            "metrics:",
            cpu!(),
            p95!("type: Value, value: \"250\""),
            "behavior:",
            "  scaleUp: {policies: [{type: Percent, value: 100, periodSeconds: 60}]}",
        )
    };
}

/// A right container.
macro_rules! right_container {
    () => {
        concat!(
            "        resources: {requests: {cpu: 100m}}\n",
            "        readinessProbe: {httpGet: {path: /readyz, port: http}}\n"
        )
    };
}

/// A right HPA with a condition in its status.
macro_rules! hpa_with_status {
    ($condition:expr) => {
        concat!(
            hpa!("minReplicas: 2", "maxReplicas: 10", "metrics:", cpu!()),
            "status:\n  conditions:\n  - {type: ",
            $condition,
            "}\n"
        )
    };
}
