// One HPA: what it sees, what it decides, and what the decision rests on.
//
// The HPA's side comes from kube-state-metrics, the value's side from the adapter, the last row from the app itself. What
// joins the first two is taffrail_autoscaler_metric_info: kube-state-metrics does not say which service an HPA reads.
local b = import 'board.libsonnet';

// Series of kube-state-metrics for this HPA.
local hpa = 'cluster="$cluster", namespace="$namespace", horizontalpodautoscaler="$hpa"';
// Series of the adapter, for the services that this HPA reads.
local ours = 'cluster="$cluster", job=~"$job", instance=~"$instance", namespace="$namespace"';
local read = ours + ', service=~"$service"';
// Series of the adapter about this HPA.
local seen = hpa + ', job=~"$job", instance=~"$instance"';
// Series of the app's pods, when Prometheus scrapes them too.
local app = 'cluster="$cluster", namespace="$namespace", pod=~"$workload-.+"';

local replicas(which) = 'max(kube_horizontalpodautoscaler_%s_replicas{%s})' % [which, hpa];
local metric(which) =
  'max by (metric_name, metric_target_type) (kube_horizontalpodautoscaler_%s_target_metric{%s, metric_name=~"$metric"})'
  % [which, hpa];
local ratio = metric('status') + ' / ' + metric('spec');
local ready = 'max(kube_deployment_status_replicas_ready{cluster="$cluster", namespace="$namespace", deployment="$workload"})'
              + ' or max(kube_statefulset_status_replicas_ready'
              + '{cluster="$cluster", namespace="$namespace", statefulset="$workload"})';
local requests = 'sum(rate(${app_histogram}_count{%s}[$__rate_interval]))' % app;
local condition(name) =
  'max(kube_horizontalpodautoscaler_status_condition{%s, condition="%s", status="true"})' % [hpa, name];
local of_service(name, by='service') = 'max by (%s) (%s{%s})' % [by, name, read];

b.board(
  uid='taffrail-hpa',
  title='Taffrail / One HPA',
  description='Why this HPA has the replicas it has: load, latency against its target, the metric that drives, and how '
              + 'fresh and complete the values behind it are.',
  from='now-3h',
  variables=[
    b.variables.datasource,
    b.variables.cluster,
    b.variables.one('namespace', 'Namespace', 'label_values(kube_horizontalpodautoscaler_info{cluster="$cluster"}, namespace)'),
    b.variables.one(
      'hpa',
      'HPA',
      'label_values(kube_horizontalpodautoscaler_info{cluster="$cluster", namespace="$namespace"}, horizontalpodautoscaler)'
    ),
    b.variables.many(
      'metric', 'Metric', 'label_values(kube_horizontalpodautoscaler_spec_target_metric{%s}, metric_name)' % hpa
    ),
    b.variables.job,
    b.variables.instance,
    b.variables.hidden('workload', 'Workload', 'label_values(kube_horizontalpodautoscaler_info{%s}, scaletargetref_name)' % hpa),
    // Without All's `.+`, which would bring in the services of other HPAs.
    b.variables.many('service', 'Service', 'label_values(taffrail_autoscaler_metric_info{%s}, service)' % seen)
    { allValue:: null, hide: 2, current: { text: ['All'], value: ['$__all'] } },
    b.variables.text('app_histogram', "App's own histogram", 'http_request_duration_seconds'),
  ],
  annotations=[{
    name: 'Replicas wanted change',
    iconColor: 'blue',
    expr: 'max(changes(kube_horizontalpodautoscaler_status_desired_replicas{%s}[$__rate_interval])) > 0' % hpa,
    titleFormat: 'The HPA wants another number of replicas',
  }],
  rows=[
    b.row('State', [
      b.tile(
        'Scaling active', 'none', |||
          Whether the HPA can work out replicas. "no" means that a metric could not be read and that the HPA will not
          scale down. What to do: look at "State of the value" below; `kubectl describe hpa` and `taffrail explain` name
          the cause.
        |||, [b.now(condition('ScalingActive'))], mappings=b.yes_or_no(1), width=3
      ),
      b.tile(
        'Able to scale', 'none', |||
          Whether the HPA can read and change the scale of its target. "no" means a missing workload, or missing rights.
          What to do: check scaleTargetRef and the events of the HPA.
        |||, [b.now(condition('AbleToScale'))], mappings=b.yes_or_no(1), width=3
      ),
      b.tile(
        'Scaling limited', 'none', |||
          Whether a limit decided instead of a metric: minReplicas, maxReplicas or a scaling policy. At night "yes" is
          common: the minimum holds. What to do when it is the maximum: see the row "Limits".
        |||, [b.now(condition('ScalingLimited'))], mappings=b.yes_or_no(0, 'orange'), width=3
      ),
      b.tile(
        'Highest metric ÷ target', 'none', |||
          The metric furthest above its target, and by how much. Above 1.1 the HPA adds replicas, below 0.9 on every
          metric it removes some; between them it leaves them alone. Absent: no metric could be read.
        |||, [b.now('topk(1, %s)' % ratio, '{{metric_name}}')], steps=b.rising(1.1, 2), width=5, decimals=2
      ),
      b.tile(
        'Replicas', 'none', |||
          What the HPA wants, what it found, what is ready, and its limits. Fewer ready than wanted means that pods
          start slowly or cannot be scheduled: then more replicas will not help yet.
        |||, [
          b.now(replicas('status_desired'), 'wanted'),
          b.now(replicas('status_current'), 'current'),
          b.now(ready, 'ready'),
          b.now(replicas('spec_min'), 'min'),
          b.now(replicas('spec_max'), 'max'),
        ], width=7
      ),
      b.tile(
        'At the maximum, last day', 'm', |||
          Minutes of the last 24 hours in which the HPA wanted as many replicas as it may have. Some at peaks is normal;
          an hour and more means that the maximum is the capacity. What to do: raise maxReplicas, or make a pod take
          more.
        |||, [b.now(
          'sum_over_time((%s >= bool %s)[1d:1m])' % [replicas('status_desired'), replicas('spec_max')]
        )], steps=b.rising(30, 120), width=3
      ),
    ]),
    b.row('Decision', [
      b.graph(
        'Metric ÷ target', 'none', |||
          Each metric as a share of its target. The HPA acts above 1.1 and below 0.9 (its usual tolerance, the dashed
          lines); the highest line wins. A line that ends is a metric that the HPA could not read: it then adds replicas
          for the others, but removes none.
        |||, [b.over_time(ratio, '{{metric_name}} ({{metric_target_type}})')], bounds=[0.9, 1.1]
      ),
      b.graph(
        'Replicas each metric asks for', 'none', |||
          Which metric drives: the HPA takes the highest line, within the scaling policies and its limits. Worked out
          from the metric's share of its target and the current replicas, as the HPA does; within the tolerance it keeps
          what it has instead. For the exact decision of one moment: `taffrail explain`.
        |||, [
          b.over_time('ceil((%s) * scalar(%s))' % [ratio, replicas('status_current')], '{{metric_name}}'),
          b.over_time(replicas('status_desired'), 'wanted'),
        ], steps=true
      ),
      b.graph(
        'Replicas over time', 'none', |||
          Wanted, found and ready replicas between the limits. Ready far behind wanted: pods start slowly or are not
          scheduled. Wanted on the maximum: see the row "Limits".
        |||, [
          b.over_time(replicas('status_desired'), 'wanted'),
          b.over_time(replicas('status_current'), 'current'),
          b.over_time(ready, 'ready'),
          b.over_time(replicas('spec_min'), 'min'),
          b.over_time(replicas('spec_max'), 'max'),
        ], dashed=['min', 'max'], steps=true, width=8
      ),
      b.timeline(
        'Scale events', 'none', |||
          Each band is a number of wanted replicas, each edge a decision. Many narrow bands are an HPA that swings: see
          "Ups and downs in an hour".
        |||, [b.over_time(replicas('status_desired'), 'wanted')], width=8, height=8
      ),
      b.timeline(
        'Conditions', 'none', |||
          The HPA's conditions over time. ScalingActive lost: a metric could not be read. AbleToScale lost: the workload
          could not be read or changed. ScalingLimited: a limit or a scaling policy decided.
        |||, [b.over_time(
          'max by (condition) (kube_horizontalpodautoscaler_status_condition{%s, status="true"})' % hpa, '{{condition}}'
        )], mappings=b.words({ '0': ['no', 'text'], '1': ['yes', 'blue'] }), width=8, height=8
      ),
      b.graph(
        '$metric: value and target', 'short', |||
          The value that the HPA read last, and its target, in the metric's own unit; "average" is for each pod,
          "utilization" in per cent of the request. The value ends where the HPA could not read it.
        |||, [
          b.over_time(metric('status'), 'value ({{metric_target_type}})'),
          b.over_time(metric('spec'), 'target ({{metric_target_type}})'),
        ], dashed=['target (value)', 'target (average)', 'target (utilization)'], width=24
      ) + { repeat: 'metric', repeatDirection: 'h', maxPerRow: 3 },
    ]),
    b.row('Reaction time', [
      b.graph(
        "The adapter's value beside the HPA's last read", 'short', |||
          The same metric as the adapter would answer now, and as the HPA read it last. The HPA's line follows within
          its period of 15 s; further apart, its controller is late, or another selector or quantile is asked for. For
          targets of type AverageValue the HPA's value is multiplied by the replicas.
        |||, [
          b.over_time(
            'max by (metric, service) (taffrail_metric_value{%s, metric=~"$metric"})' % read
            + ' and on (metric, service) taffrail_autoscaler_metric_info{%s}' % seen, '{{metric}}, adapter'
          ),
          b.over_time(|||
            (
              max by (metric_name) (
                kube_horizontalpodautoscaler_status_target_metric{%(hpa)s, metric_name=~"$metric", metric_target_type="value"}
              )
              or
              max by (metric_name) (
                kube_horizontalpodautoscaler_status_target_metric{%(hpa)s, metric_name=~"$metric", metric_target_type="average"}
              ) * scalar(%(current)s)
            )
            and on (metric_name)
            label_replace(taffrail_autoscaler_metric_info{%(seen)s}, "metric_name", "$1", "metric", "(.+)")
          ||| % { hpa: hpa, seen: seen, current: replicas('status_current') }, '{{metric_name}}, HPA'),
        ]
      ),
      b.graph(
        'From load to a decision', 's', |||
          How old what is known is at each step: the reads behind the value, the HPA's last sync, and what its
          controller takes to work out an external metric. Their sum is how late a decision can be, before pods start.
          What to do when reads are old: see "Scrape failures"; when syncs are old: the controller is overloaded or
          cannot reach the adapter.
        |||, [
          b.over_time(of_service('taffrail_metric_age_seconds'), 'age of the value, {{service}}'),
          b.over_time(
            'time() - max(taffrail_autoscaler_last_sync_timestamp_seconds{%s})' % seen,
            'since the last sync'
          ),
          b.over_time(|||
            histogram_quantile(0.99, sum by (le) (rate(
              horizontal_pod_autoscaler_controller_metric_computation_duration_seconds_bucket{
                cluster="$cluster", metric_type="External"
              }[$__rate_interval]
            )))
          |||, 'controller, 99 of 100 computations'),
        ]
      ),
    ]),
    b.row('Signal', [
      b.graph(
        'Request rate', 'reqps', |||
          Requests that the pods answered, over the window of the RequestMetrics object: all of them, and for each pod
          that gave samples. Rate up and latency up is load; latency up alone is a slower app or a slower dependency.
        |||, [
          b.over_time(of_service('taffrail_request_rate'), '{{service}}'),
          b.over_time(
            '%s / (max by (service) (taffrail_targets{%s, standing="known"}) > 0)' % [of_service('taffrail_request_rate'), read],
            '{{service}}, each pod'
          ),
        ], width=8
      ),
      b.graph(
        'Latency', 's', |||
          Quantiles of the request latency over all pods, from their histograms, the promised latency, and what is to be
          compared with it: the promise's own quantile. No line: no
          requests, or no pod could be read ("State of the value" says which). Exact only on the bounds of the buckets.
        |||, [
          b.over_time(of_service('taffrail_request_latency_quantile_seconds', 'service, q'), '{{service}} {{q}}'),
          b.over_time(of_service('taffrail_objective_latency_seconds'), '{{service}} promised'),
          b.over_time(of_service('taffrail_request_latency_seconds'), "{{service}} at the promise's quantile"),
        ], width=8
      ),
      b.graph(
        'Slow requests', 'percentunit', |||
          The share of requests slower than the promised latency, and the share that is allowed (one less the
          objective's quantile). Above it, users get less than was promised. This share moves in proportion to the
          trouble, and makes a steadier target than the latency.
        |||, [
          b.over_time('max by (service) (taffrail_metric_value{%s, metric="slow_request_ratio"})' % read, '{{service}}'),
          b.over_time('1 - ' + of_service('taffrail_objective_quantile'), '{{service}} allowed'),
        ], width=8
      ),
      b.timeline(
        'State of the value',
        'none',
        |||
          ok: every pod is known. no_traffic: known to be zero. partial: some pods are unknown, the value is of the
          others. unknown: nothing is served, and the HPA keeps its replicas. What to do for the last two: see "Scrape
          failures".
        |||,
        [b.over_time(|||
          max by (service) (
            taffrail_service_state{%(read)s, state="ok"} == 1
            or 2 * (taffrail_service_state{%(read)s, state="no_traffic"} == 1)
            or 3 * (taffrail_service_state{%(read)s, state="partial"} == 1)
            or 4 * (taffrail_service_state{%(read)s, state="unknown"} == 1)
          )
        ||| % { read: read }, '{{service}}')],
        mappings=b.words({
          '1': ['ok', 'green'],
          '2': ['no_traffic', 'blue'],
          '3': ['partial', 'orange'],
          '4': ['unknown', 'red'],
        }),
        width=12,
        height=5
      ),
      b.graph(
        'Age of each value', 's', |||
          Seconds since the oldest read behind the value, of the replica that is furthest behind. It should stay within
          two intervals of the RequestMetrics object; a line that climbs is a service whose pods are no longer read.
        |||, [b.over_time(of_service('taffrail_metric_age_seconds'), '{{service}}')], width=12, height=5
      ),
      b.graph(
        'Pods behind the value', 'none', |||
          Pods by how they stand: known ones gave samples, starting ones were read once, unknown ones should answer and
          do not. Cold ones are known, but their latencies do not count yet. What to do for unknown ones: see "Scrape
          failures".
        |||, [
          b.over_time('max by (standing) (taffrail_targets{%s})' % read, '{{standing}}'),
          b.over_time('max(taffrail_cold_targets{%s})' % read, 'cold'),
        ], steps=true, width=8
      ),
      b.graph(
        'Scrape failures', 'cps', |||
          Failed reads of pods by reason. refused: nobody listens, or a NetworkPolicy forbids it. timeout: the pod is
          overloaded. unauthorized: a wrong or missing secret. not_found: the histogram is not on the page. None is the
          good case.
        |||, [b.over_time(
          'sum by (reason) (rate(taffrail_read_errors_total{%s}[$__rate_interval]))' % read, '{{reason}}'
        )], width=8
      ) + b.when_empty('none'),
      b.graph(
        'Requests in flight', 'none', |||
          Mean requests that are waiting or worked on, over all pods. It climbs before the latency does when a service
          is full. Empty where the RequestMetrics object names no gauge (`inFlight`) and the histogram has no sum.
        |||, [b.over_time(of_service('taffrail_request_concurrency'), '{{service}}')], width=8
      ),
      b.graph(
        'CPU of each request', 's', |||
          CPU seconds that the pods use for each request. A step with a release is a change of the work itself: targets
          found for the version before no longer fit. Empty where the RequestMetrics object names no counter (`cpu`).
        |||, [b.over_time(of_service('taffrail_request_cpu_seconds'), '{{service}}')], height=6
      ),
      b.graph(
        'Items waiting', 'none', |||
          Items under each Redis key of the service's backlog. Growing at a steady number of replicas: the workers are
          too few, or stand still. Empty for services without a backlog.
        |||, [b.over_time(of_service('taffrail_backlog_items', 'service, key'), '{{service}} {{key}}')], height=6
      ),
    ]),
    b.row('Limits', [
      b.timeline(
        'At the maximum and still over target', 'none', |||
          "yes": the HPA wants more than it may have, and users feel it. What to do: raise maxReplicas, and check that
          the cluster has room and that what the service depends on can take more.
        |||, [b.over_time(
          '(%s >= bool %s) * (max(%s) > bool 1.1)' % [replicas('status_desired'), replicas('spec_max'), ratio],
          'over target at max'
        )], mappings=b.yes_or_no(0), width=8
      ),
      b.graph(
        'Ups and downs in an hour', 'none', |||
          How often the wanted replicas went up and down within the last hour. A few of each is a changing load; many of
          both is an HPA that swings. What to do: a longer stabilizationWindowSeconds for scaling down, and `taffrail
          tune`.
        |||, [
          b.over_time('max(resets(kube_horizontalpodautoscaler_status_desired_replicas{%s}[1h]))' % hpa, 'downs'),
          b.over_time(|||
            max(
              changes(kube_horizontalpodautoscaler_status_desired_replicas{%(hpa)s}[1h])
              - resets(kube_horizontalpodautoscaler_status_desired_replicas{%(hpa)s}[1h])
            )
          ||| % { hpa: hpa }, 'ups'),
        ], steps=true, width=8, height=6
      ),
      b.graph(
        'Wanted but not ready', 'none', |||
          Replicas that the HPA wants and that are not ready. For a minute it is the start of a pod; longer it is
          Pending pods (no room, a strict anti-affinity) or pods that fail. What to do: `kubectl get pods`, and the
          events of those that wait.
        |||, [b.over_time('%s - (%s)' % [replicas('status_desired'), ready], 'not ready')], steps=true, min=null, width=8, height=6
      ),
    ]),
    b.row("The app's own histogram (where Prometheus scrapes the app)", [
      b.graph(
        'Requests by code', 'reqps', |||
          Requests by status code from the app's own histogram, whose name is the variable above. Empty where Prometheus
          does not scrape the app or the histogram has no label `code`; the adapter does not need either.
        |||, [b.over_time('sum by (code) (rate(${app_histogram}_count{%s}[$__rate_interval]))' % app, '{{code}}')], width=6
      ),
      b.graph(
        'Latency quantiles', 's', |||
          The latency as Prometheus works it out, beside the adapter's above. They differ by their windows; a lasting
          difference means that the two read different pods or routes.
        |||, [
          b.over_time(
            'histogram_quantile(%s, sum by (le) (rate(${app_histogram}_bucket{%s}[$__rate_interval])))' % [quantile, app], quantile
          )
          for quantile in ['0.5', '0.9', '0.95', '0.99']
        ], width=6
      ),
      b.graph(
        'Share of errors', 'percentunit', |||
          The share of answers with a code of 500 and above. Failing fast looks like a good latency: when this rises and
          the latency falls, the HPA may remove pods from a service that is broken. Look at the app first.
        |||, [b.over_time(
          // Without any error there is no such series, and the share is known to be zero.
          '(sum(rate(${app_histogram}_count{%s, code=~"5.."}[$__rate_interval])) or 0 * %s) / %s' % [app, requests, requests],
          'errors'
        )], width=6
      ),
      b.graph(
        'Traffic of each pod', 'reqps', |||
          Requests of each pod. Lines apart are a load balancer that does not spread: long-lived connections, or
          sessions that stick. More replicas help little then.
        |||, [b.over_time('sum by (pod) (rate(${app_histogram}_count{%s}[$__rate_interval]))' % app, '{{pod}}')], width=6
      ),
    ]),
  ],
)
