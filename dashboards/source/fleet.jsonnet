// Every HPA at once: which of them need a look, and why. Each line leads to the board of that HPA.
local b = import 'board.libsonnet';

local hpas = 'cluster="$cluster", namespace=~"$namespace", horizontalpodautoscaler=~"$hpa"';
local ours = 'cluster="$cluster", job=~"$job", instance=~"$instance", namespace=~"$namespace"';

// One series for each HPA, whatever else labels the series of kube-state-metrics.
local each(expr) = 'max by (namespace, horizontalpodautoscaler) (%s)' % expr;
local replicas(which) = each('kube_horizontalpodautoscaler_%s_replicas{%s}' % [which, hpas]);
local metric(which) =
  'max by (namespace, horizontalpodautoscaler, metric_name, metric_target_type)'
  + ' (kube_horizontalpodautoscaler_%s_target_metric{%s, metric_name=~"$metric"})' % [which, hpas];
local ratio = each('%s / %s' % [metric('status'), metric('spec')]);
local at_max = '(%s >= bool %s)' % [replicas('status_desired'), replicas('spec_max')];
local missing = 'sum by (namespace, horizontalpodautoscaler, metric_name) (%s)' % metric('spec')
                + ' unless on (namespace, horizontalpodautoscaler, metric_name) %s' % metric('status');

// resets() counts the falls of any series, so what is left of changes() are its rises.
local downs = each('resets(kube_horizontalpodautoscaler_status_desired_replicas{%s}[1h])' % hpas);
local ups = each(
  'changes(kube_horizontalpodautoscaler_status_desired_replicas{%s}[1h])' % hpas
  + ' - resets(kube_horizontalpodautoscaler_status_desired_replicas{%s}[1h])' % hpas
);
// The smaller of both: a long way down in many steps is no swing.
local swings = '((%(downs)s <= %(ups)s) or (%(ups)s < %(downs)s))' % { downs: downs, ups: ups };

local last_sync = each(
  'taffrail_autoscaler_last_sync_timestamp_seconds{%s, job=~"$job", instance=~"$instance"}' % hpas
);

local to_hpa = {
  column: 'HPA',
  title: 'Why this HPA has the replicas it has',
  url: '/d/taffrail-hpa?${datasource:queryparam}&${cluster:queryparam}&${__url_time_range}'
       + '&var-namespace=${__data.fields.Namespace}&var-hpa=${__data.fields.HPA}',
};
local computations = 'horizontal_pod_autoscaler_controller_metric_computation';

b.board(
  uid='taffrail-fleet',
  title='Taffrail / Fleet',
  description='Which HPAs need a look: at their maximum, without their metrics, swinging, or deciding late.',
  from='now-6h',
  variables=[
    b.variables.datasource,
    b.variables.cluster,
    b.variables.many('namespace', 'Namespace', 'label_values(kube_horizontalpodautoscaler_info{cluster="$cluster"}, namespace)'),
    b.variables.many(
      'hpa',
      'HPA',
      'label_values(kube_horizontalpodautoscaler_info{cluster="$cluster", namespace=~"$namespace"}, horizontalpodautoscaler)'
    ),
    b.variables.many(
      'metric', 'Metric', 'label_values(kube_horizontalpodautoscaler_spec_target_metric{%s}, metric_name)' % hpas
    ),
    b.variables.job,
    b.variables.instance,
  ],
  rows=[
    b.row('Now', [
      b.tile(
        'HPAs', 'none', |||
          HPAs in the chosen namespaces, as kube-state-metrics lists them. Absent: kube-state-metrics is not scraped, or
          without honorLabels.
        |||, [b.now('count(%s)' % each('kube_horizontalpodautoscaler_info{%s}' % hpas))], width=3
      ),
      b.tile(
        'At the maximum', 'none', |||
          HPAs that want as many replicas as they may have. Not wrong by itself. What to do: look at those that are over
          their target too.
        |||, [b.now('sum(%s)' % at_max)], steps=b.rising(1), width=3
      ),
      b.tile(
        'At the maximum, over target', 'none', |||
          HPAs that want more than they may have, so that users feel it. What to do: raise maxReplicas, or find what is
          slow behind the service: more replicas do not help against a slow database.
        |||, [b.now('sum(%s * (%s > bool 1.1))' % [at_max, ratio])], steps=b.rising(1, 3), width=4
      ),
      b.tile(
        'Not scaling', 'none', |||
          HPAs whose condition ScalingActive is not true: a metric could not be read. They keep their replicas whatever
          the load. What to do: the table below names the metric.
        |||, [b.now(
          'sum(%s == bool 0)' % each(
            'kube_horizontalpodautoscaler_status_condition{%s, condition="ScalingActive", status="true"}' % hpas
          )
        )], steps=b.rising(1, 3), width=3
      ),
      b.tile(
        'Metrics missing', 'none', |||
          Metrics that HPAs ask for and could not read at their last sync. An HPA with one readable metric left still
          adds replicas, but removes none.
        |||, [b.now('count(%s) or 0 * count(%s)' % [missing, metric('spec')])], steps=b.rising(1, 3), width=3
      ),
      b.tile(
        'Swinging', 'none', |||
          HPAs that went up three times and down three times within the last hour. What to do: a longer
          stabilizationWindowSeconds for scaling down, a wider window in the RequestMetrics object, or `taffrail tune`.
        |||, [b.now('sum(%s >= bool 3)' % swings)], steps=b.rising(1, 5), width=3
      ),
      b.tile(
        'Values unknown',
        'none',
        |||
          Services of which the adapter knows nothing that it may serve, on at least one of its replicas. What to do:
          the adapter's board, row "Reads of targets".
        |||,
        [b.now('sum(max by (namespace, service) (taffrail_service_state{%s, state="unknown"}))' % ours)],
        steps=b.rising(1, 3),
        width=5
      ),
      b.table(
        'HPAs, one by one', |||
          Each HPA with what it wants, its maximum, its highest metric as a share of the target (above 1.1 it adds
          replicas), the minutes at its maximum in the last day, its ups and downs in the last hour, and the seconds
          since its last sync. A name leads to its board.
        |||, [
          b.rows(replicas('status_desired')),
          b.rows(replicas('spec_max')),
          b.rows(ratio),
          b.rows('sum_over_time(%s[1d:1m])' % at_max),
          b.rows(swings),
          b.rows('time() - ' + last_sync),
        ], [
          ['namespace', 'Namespace'],
          ['horizontalpodautoscaler', 'HPA'],
          ['A', 'Wanted'],
          ['B', 'Maximum'],
          ['C', 'Highest metric ÷ target'],
          ['D', 'At the maximum, last day', 'm'],
          ['E', 'Ups and downs in an hour'],
          ['F', 'Since the last sync', 's'],
        ], link=to_hpa, sorted_by='Highest metric ÷ target', height=10
      ),
    ]),
    b.row('At the maximum', [
      b.graph(
        'HPAs at the maximum', 'none', |||
          How many HPAs want as many replicas as they may have, and how many of them are over their target still. A rise
          of the second line in the whole fleet at once points at something that all of them use.
        |||, [
          b.over_time('sum(%s)' % at_max, 'at the maximum'),
          b.over_time('sum(%s * (%s > bool 1.1))' % [at_max, ratio], 'and over target'),
        ], steps=true, width=8
      ),
      b.graph(
        'Highest metric ÷ target', 'none', |||
          The ten HPAs whose metrics are furthest over their targets. Above the upper dashed line an HPA adds replicas,
          as far as it may.
        |||, [b.over_time('topk(10, %s)' % ratio, '{{namespace}}/{{horizontalpodautoscaler}}')], bounds=[0.9, 1.1], width=8
      ),
      b.graph(
        'Replicas wanted', 'none', |||
          What all HPAs of a namespace want together. For the capacity of the cluster: compare with the sum of their
          maxima.
        |||, [
          b.over_time('sum by (namespace) (%s)' % replicas('status_desired'), '{{namespace}}'),
          b.over_time('sum(%s)' % replicas('spec_max'), 'sum of all maxima'),
        ], dashed=['sum of all maxima'], steps=true, width=8
      ),
    ]),
    b.row('Missing metrics', [
      b.table(
        'Metrics that an HPA could not read', |||
          HPA and metric of each read that failed at the last sync. Empty is the good case. What to do: `kubectl
          describe hpa` has the adapter's sentence about the cause; `taffrail lint` finds a wrong name or selector.
        |||, [b.rows(missing)], [
          ['namespace', 'Namespace'],
          ['horizontalpodautoscaler', 'HPA'],
          ['metric_name', 'Metric'],
          ['A', 'Target'],
        ], link=to_hpa, width=8
      ) + b.when_empty('none'),
      b.graph(
        'Metrics missing, by namespace', 'none', |||
          How many metrics HPAs could not read, by namespace. All namespaces at once: the adapter or its APIService is
          down. One: a workload, or its RequestMetrics object.
        |||, [b.over_time(
          'count by (namespace) (%s) or 0 * count by (namespace) (%s)' % [missing, metric('spec')], '{{namespace}}'
        )], steps=true, width=8
      ),
      b.graph(
        'Services by the state of their values',
        'none',
        |||
          ok: every pod is known. no_traffic: known to be zero. partial: some pods are unknown. unknown: nothing is
          served, and its HPA keeps its replicas.
        |||,
        [b.over_time('sum by (state) (max by (namespace, service, state) (taffrail_service_state{%s}))' % ours, '{{state}}')],
        steps=true,
        stacked=true,
        width=8
      ),
    ]),
    b.row('Swinging', [
      b.graph(
        'Ups and downs in an hour', 'none', |||
          The ten HPAs that swing most: the smaller of their ups and downs within the last hour, so that a long way in
          one direction does not count. From three on it is worth a look.
        |||, [b.over_time('topk(10, %s)' % swings, '{{namespace}}/{{horizontalpodautoscaler}}')], bounds=[3], steps=true
      ),
      b.graph(
        'Decisions to change replicas', 'cps', |||
          How often the HPA controller found that external metrics ask for more or fewer replicas (before limits and
          stabilization). Up and down alike and often: targets that are too tight, or windows that are too short. Needs
          the metrics of kube-controller-manager.
        |||, [b.over_time(
          'sum by (action) (rate(%s_total{cluster="$cluster", metric_type="External", action!="none"}[$__rate_interval]))'
          % computations, '{{action}}'
        )]
      ),
    ]),
    b.row('Slow decisions', [
      b.graph(
        'Since the last sync', 's', |||
          The ten HPAs whose last sync is longest ago, as the adapter saw it. The period is 15 s; half a minute and more
          is a controller that cannot keep up (its client's rate limit is shared by all HPAs), or that cannot reach the
          adapter.
        |||, [b.over_time(
          'topk(10, time() - %s)' % last_sync, '{{namespace}}/{{horizontalpodautoscaler}}'
        )], bounds=[30], width=8
      ),
      b.graph(
        'Age of the values', 's', |||
          The ten services whose values are oldest. Decisions on them are late by so much. A line that climbs is a
          service that is no longer read.
        |||, [b.over_time(
          'topk(10, max by (namespace, service) (taffrail_metric_age_seconds{%s}))' % ours, '{{namespace}}/{{service}}'
        )], bounds=[30], width=8
      ),
      b.graph(
        'Duration of a sync', 's', |||
          What the HPA controller takes for a whole sync, and for one external metric: 99 of 100 are faster. Seconds
          mean that the adapter's API or the API server is slow. Needs the metrics of kube-controller-manager.
        |||, [
          b.over_time(|||
            histogram_quantile(0.99, sum by (le) (rate(
              horizontal_pod_autoscaler_controller_reconciliation_duration_seconds_bucket{cluster="$cluster"}[$__rate_interval]
            )))
          |||, 'a sync'),
          b.over_time(
            'histogram_quantile(0.99, sum by (le) (rate(%s_duration_seconds_bucket' % computations
            + '{cluster="$cluster", metric_type="External"}[$__rate_interval])))', 'an external metric'
          ),
        ], width=8
      ),
    ]),
  ],
)
