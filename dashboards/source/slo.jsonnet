// What was promised, and what is left of the error budgets: of the adapter, from the recording rules in dashboards/rules,
// whose windows are too wide to be asked for each time; and of the services, from their own objectives.
local b = import 'board.libsonnet';

local adapter = 'cluster="$cluster", job=~"$job"';
local read = adapter + ', instance=~"$instance", namespace=~"$namespace"';
// Reads that HPAs make of metrics of ours. What a delegate is asked counts for no objective.
local reads = adapter + ', instance=~"$instance", verb="LIST", resource!="delegated"';
local calls = reads + ', group="external.metrics.k8s.io"';

// An objective of the adapter: how its share of bad answers is recorded, and how large that may be.
local objectives = [
  {
    name: 'Availability',
    record: 'cluster_job:taffrail_request_errors:ratio_rate',
    budget: 0.001,
    promise: '999 of 1000 reads of external metrics are answered: with a value, or with why there is none. Bad are '
             + 'codes of 500 and above, and 429.',
    remedy: "What to do when it burns: the adapter's board, row \"API\".",
    cause: b.graph(
      'Failed reads by replica', 'reqps', |||
        Which replica answered with a code of 500 and above, or 429. One of them: restart it and keep its log. All: look
        at what they share. None is the good case.
      |||, [b.over_time(
        'sum by (instance, code) (rate(apiserver_request_total{%s, code=~"5..|429"}[$__rate_interval]))' % calls,
        '{{instance}} {{code}}'
      )], width=8
    ) + b.when_empty('none'),
  },
  {
    name: 'Latency',
    record: 'cluster_job:taffrail_slow_requests:ratio_rate',
    budget: 0.01,
    promise: '99 of 100 reads are answered within 1 s. The HPA syncs every 15 s; at 5 s the API server takes an API '
             + 'for gone.',
    remedy: "What to do when it burns: the adapter's CPU, and the authorization reviews on its board.",
    cause: b.graph(
      'Latency by replica', 's', |||
        What 99 of 100 reads stay below, by replica. The dashed line is the objective.
      |||, [b.over_time(
        'histogram_quantile(0.99, sum by (le, instance) '
        + '(rate(apiserver_request_duration_seconds_bucket{%s}[$__rate_interval])))' % reads,
        '{{instance}}'
      )], bounds=[1], width=8
    ),
  },
  {
    name: 'Freshness',
    record: 'cluster_job:taffrail_stale_answers:ratio_rate',
    budget: 0.01,
    promise: '99 of 100 values rest on reads that are no older than 30 s, two periods of the HPA.',
    remedy: "What to do when it burns: the adapter's board, row \"Reads of targets\", names the services.",
    cause: b.graph(
      'Oldest values', 's', |||
        The five services whose values are oldest. The dashed line is the objective.
      |||, [b.over_time(
        'topk(5, max by (namespace, service) (taffrail_metric_age_seconds{%s}))' % read, '{{namespace}}/{{service}}'
      )], bounds=[30], width=8
    ),
  },
];

// How many times faster than allowed the budget is spent, over so long.
local burn(objective, window) = '%s%s{%s} / %s' % [objective.record, window, adapter, objective.budget];

local row_of(objective) = b.row(objective.name, [
  b.tile(
    objective.name + ', 30 days',
    'percentunit',
    'The share of good answers over 30 days, or since the rules are there, six hours at least. ' + objective.promise,
    [b.now('1 - max(%s30d{%s})' % [objective.record, adapter])],
    steps=b.falling(1 - objective.budget, 1 - objective.budget / 2),
    width=4,
    height=8,
    decimals=3
  ),
  b.tile(
    objective.name + ': budget left',
    'percentunit',
    'What is left of the bad answers that 30 days may have. At zero the promise is broken; below a quarter, changes '
    + 'can wait. ' + objective.remedy,
    [b.now('1 - max(%s)' % burn(objective, '30d'))],
    steps=b.falling(0, 0.25),
    width=4,
    height=8,
    decimals=1
  ),
  b.graph(
    objective.name + ': burn rate',
    'none',
    |||
      How many times faster than allowed the budget is spent, over windows from five minutes to three days. 1 spends it
      in just 30 days; 14.4 over an hour spends a fiftieth of it in that hour, and calls somebody.
    |||,
    [b.over_time('max(%s)' % burn(objective, window), window) for window in ['5m', '30m', '1h', '2h', '6h', '1d', '3d']],
    bounds=[1, 14.4],
    width=8
  ),
  objective.cause,
]);

// A service's own objective: the share of slow requests over the share that may be slow.
local slow = 'max by (namespace, service) (taffrail_metric_value{%s, metric="slow_request_ratio"})' % read;
local allowed = '(1 - max by (namespace, service) (taffrail_objective_quantile{%s}))' % read;
// Of the services that the chosen HPAs read.
local chosen = ' and on (namespace, service) taffrail_autoscaler_metric_info{%s, horizontalpodautoscaler=~"$hpa"}' % read;

b.board(
  uid='taffrail-slo',
  title='Taffrail / Objectives',
  description='What the adapter and the services promise, and what is left of their error budgets. Needs the '
              + 'recording rules of dashboards/rules.',
  from='now-24h',
  variables=[
    b.variables.datasource,
    b.variables.cluster,
    b.variables.job,
    b.variables.instance,
    b.variables.many('namespace', 'Namespace', 'label_values(taffrail_autoscaler_metric_info{%s}, namespace)' % adapter),
    b.variables.many(
      'hpa',
      'HPA',
      'label_values(taffrail_autoscaler_metric_info{%s, namespace=~"$namespace"}, horizontalpodautoscaler)' % adapter
    ),
  ],
  rows=[row_of(objective) for objective in objectives] + [
    b.row("The services' own objectives", [
      b.graph(
        'Burn rate of the services', 'none', |||
          The ten services that spend their own budgets fastest: the share of requests slower than promised over the
          share that may be. Above 1 users get less than was promised. What to do: the board of its HPA says whether
          more replicas are coming, or cannot.
        |||, [b.over_time('topk(10, %s / %s%s)' % [slow, allowed, chosen], '{{namespace}}/{{service}}')], bounds=[1], width=12
      ),
      b.table(
        'Services', |||
          Each service with the share of its requests that is slow now, the mean of that over the time range, and the
          share that may be. A mean above what is allowed is a promise that was not kept in this range; the mean is over
          time and not over requests.
        |||, [
          b.rows(slow + chosen),
          b.rows('avg_over_time((%s)[$__range:])' % slow + chosen),
          b.rows(allowed + chosen),
        ], [
          ['namespace', 'Namespace'],
          ['service', 'Service'],
          ['A', 'Slow now', 'percentunit'],
          ['B', 'Slow in this range', 'percentunit'],
          ['C', 'Allowed', 'percentunit'],
        ], sorted_by='Slow in this range', width=12
      ),
    ]),
    b.row('Alerts', [
      b.timeline(
        'Alerts that fire', 'none', |||
          The alerts of dashboards/rules that fire, by name and severity. Empty is the good case. What to do: each alert
          links to its section in the runbooks.
        |||, [b.over_time(
          'max by (alertname, severity) (ALERTS{cluster="$cluster", alertstate="firing", '
          + 'alertname=~"Taffrail.+|ExternalMetricsAPIUnavailable|Hpa.+"})', '{{alertname}} ({{severity}})'
        )], mappings=b.words({ '1': ['fires', 'red'] }), width=24, height=7
      ) + b.when_empty('none'),
    ]),
  ],
)
