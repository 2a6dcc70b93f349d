// The adapter itself: its API, what it reads, what the control plane thinks of it, and the process.
local b = import 'board.libsonnet';

local ours = 'cluster="$cluster", job=~"$job", instance=~"$instance"';
// Requests that the adapter answers itself: what it asks a delegate is that one's to fail and to be late with.
local own = ours + ', resource!="delegated"';
local delegated = ours + ', resource="delegated"';
// Series of the services that it reads.
local read = ours + ', namespace=~"$namespace"';
local hpas = read + ', horizontalpodautoscaler=~"$hpa"';
// The control plane's names for our APIs.
local apis = 'cluster="$cluster", name=~"v1beta[12].(external|custom).metrics.k8s.io|v1alpha1.explain.taffrail.dev"';
local controller = 'horizontal_pod_autoscaler_controller';

local rate(by, name, selector) = 'sum by (%s) (rate(%s{%s}[$__rate_interval]))' % [by, name, selector];
local quantile(q, name, selector, by='') =
  'histogram_quantile(%s, sum by (le%s) (rate(%s_bucket{%s}[$__rate_interval])))' % [q, by, name, selector];
local increase(by, name) = 'sum by (%s) (increase(%s{%s}[$__rate_interval]))' % [by, name, ours];
local of_service(name, selector=read) = 'max by (namespace, service) (%s{%s})' % [name, selector];
local without_delegate = b.when_empty('no delegate');
local by_instance(name) = 'max by (instance) (%s{%s})' % [name, ours];

b.board(
  uid='taffrail-adapter',
  title='Taffrail / Adapter',
  description='How the adapter itself is doing: its API, the reads behind it, what the control plane thinks of it, and '
              + 'the process.',
  from='now-3h',
  variables=[
    b.variables.datasource,
    b.variables.cluster,
    b.variables.job,
    b.variables.instance,
    b.variables.many('namespace', 'Namespace', 'label_values(taffrail_service_state{%s}, namespace)' % ours),
    b.variables.many(
      'hpa', 'HPA', 'label_values(taffrail_autoscaler_metric_info{%s, namespace=~"$namespace"}, horizontalpodautoscaler)' % ours
    ),
  ],
  rows=[
    b.row('Now', [
      b.tile(
        'Up', 'none', |||
          Replicas of the adapter that Prometheus can scrape. Fewer than the Deployment has: see its pods. None:
          external metrics are gone, and HPAs keep their replicas.
        |||, [b.now('sum(up{%s})' % ours)], steps=b.falling(1, 2), width=3
      ),
      b.tile(
        'Ready',
        'none',
        |||
          Replicas of which every readiness check passes: a snapshot, a sound certificate, and the cluster's objects.
          What to do when one is not: its /readyz?verbose names the check.
        |||,
        [b.now('sum(min by (instance) (kubernetes_healthcheck{%s, type="readyz"}))' % ours)],
        steps=b.falling(1, 2),
        width=3
      ),
      b.tile(
        'API available', 'none', |||
          Whether the API server can reach our APIs, by its own account. "no": HPAs get no external metrics at all. What
          to do: `kubectl get apiservice`; its message tells a wrong certificate from a blocked port.
        |||, [b.now('max(aggregator_unavailable_apiservice{%s}) == bool 0' % apis)], mappings=b.yes_or_no(1), width=3
      ),
      b.tile(
        'Failed reads of the API', 'percentunit', |||
          The share of answers with a code of 500 and above, or 429, without those of a delegate. The promise is at most
          0.1 % over 30 days: see the board "Objectives".
        |||, [b.now(
          '(%s or 0 * %s) / %s' % [
            'sum(rate(apiserver_request_total{%s, code=~"5..|429"}[$__rate_interval]))' % own,
            'sum(rate(apiserver_request_total{%s}[$__rate_interval]))' % own,
            'sum(rate(apiserver_request_total{%s}[$__rate_interval]))' % own,
          ]
        )], steps=b.rising(0.001, 0.01), width=3, decimals=2
      ),
      b.tile(
        'Oldest value', 's', |||
          The age of the oldest read behind any value that is served. Above 30 s decisions are made on the past. What to
          do: the row "Reads of targets" names the service.
        |||, [b.now('max(taffrail_metric_age_seconds{%s})' % read)], steps=b.rising(30, 60), width=3, decimals=0
      ),
      b.tile(
        'Targets not known', 'percentunit', |||
          The share of targets that should answer and do not. What to do: "Failed reads by reason" says why.
        |||, [b.now(
          'sum(%s) / sum(%s)' % [
            of_service('taffrail_targets', read + ', standing="unknown"'),
            'max by (namespace, service, standing) (taffrail_targets{%s, standing=~"known|starting|unknown"})' % read,
          ]
        )], steps=b.rising(0.05, 0.2), width=3, decimals=1
      ),
      b.tile(
        'Certificate ends in',
        's',
        |||
          Until the serving certificate expires, on the replica where it does first. Afterwards the API server refuses
          us. It is renewed long before; below a week, something keeps it from being renewed: see "Configuration and
          certificate read again" below, and the log.
        |||,
        [b.now('min(taffrail_certificate_not_after_timestamp_seconds{%s}) - time()' % ours)],
        steps=b.falling(86400, 604800),
        width=3,
        decimals=0
      ),
      b.tile(
        'Version', 'none', |||
          Replicas by version. Two versions for longer than a rollout: one that does not finish.
        |||, [b.now('count by (version) (taffrail_build_info{%s})' % ours, '{{version}}')], width=3
      ),
    ]),
    b.row('API', [
      b.graph(
        'Requests by code', 'reqps', |||
          Requests to the API by status code. 404 is an absent value, said on purpose, and no failure of the adapter;
          403 and 401 are refused callers; 429 is too many at once; 500 and above is ours to mend. What a delegate
          answers is in the row "The other adapter".
        |||, [b.over_time(rate('code', 'apiserver_request_total', own), '{{code}}')], width=8
      ),
      b.graph(
        'Requests by metric', 'reqps', |||
          What is read, by verb, group and metric; a name that nobody serves has no metric, and what a delegate is asked
          is "delegated". Each HPA reads each of its metrics every 15 s, so this line says how many HPAs there are, and
          whether they still ask.
        |||, [b.over_time(
          rate('verb, group, resource', 'apiserver_request_total', ours), '{{verb}} {{resource}} ({{group}})'
        )], width=8
      ),
      b.graph(
        'In flight', 'none', |||
          Reads whose answers have not left yet, by replica. It is near zero, for answers come from memory; a plateau is
          callers that do not take their answers, or a CPU limit that throttles.
        |||, [b.over_time('max by (instance) (apiserver_current_inflight_requests{%s})' % ours, '{{instance}}')], width=8
      ),
      b.graph(
        'Latency', 's', |||
          Quantiles of the time to answer. Milliseconds are usual. Above 1 s the objective is broken, above 5 s the API
          server takes us for gone. What to do: see the CPU below, and the authorization reviews beside.
        |||, [
          b.over_time(quantile(q, 'apiserver_request_duration_seconds', own), q)
          for q in ['0.5', '0.9', '0.99']
        ], bounds=[1], width=8
      ),
      b.heatmap(
        'Latency, every request', 's', |||
          How many requests took how long. A second band above the first one is a part of the requests that waits for
          something, as for a review by the API server.
        |||, 'sum by (le) (rate(apiserver_request_duration_seconds_bucket{%s}[$__rate_interval]))' % own, width=8
      ),
      b.graph(
        'Age of the data in answers', 's', |||
          Quantiles of the age of the oldest read behind each answer, as the callers got it. It should stay near the
          interval of the RequestMetrics objects; the objective is 30 s.
        |||, [
          b.over_time(quantile(q, 'metrics_apiserver_metric_freshness_seconds', ours), q)
          for q in ['0.5', '0.99']
        ], bounds=[30], width=8
      ),
      b.graph(
        'Authentication and authorization: duration', 's', |||
          99 of 100 reviews that the API server was asked for are faster than this: who a caller is (authentication),
          and whether it may read (authorization). Slow ones are the API server's own trouble. Answers are kept for a
          while, so there are few.
        |||, [
          b.over_time(quantile('0.99', 'apiserver_delegated_authn_request_duration_seconds', ours), 'authentication'),
          b.over_time(quantile('0.99', 'apiserver_delegated_authz_request_duration_seconds', ours), 'authorization'),
        ]
      ),
      b.graph(
        'Authentication and authorization: refusals', 'reqps', |||
          Callers that could not be made out, by reason, and reviews by their result. "denied" for the HPA controller
          means that the binding of horizontal-pod-autoscaler is missing; "failed" means that the API server could not
          be asked.
        |||, [
          b.over_time(rate('reason', 'taffrail_authentication_failures_total', ours), 'not authenticated: {{reason}}'),
          b.over_time(rate('result', 'taffrail_authorization_reviews_total', ours), 'review: {{result}}'),
        ]
      ),
    ]),
    b.row('The other adapter', [
      b.graph(
        'Reads passed on, by code', 'reqps', |||
          What callers were answered to reads of metrics that are not ours and that a delegate (`--delegate`) was asked
          for. They burn no budget of ours. 503 and 504: it could not be asked, or gave nothing that can be passed on;
          other codes are its own.
        |||, [b.over_time(rate('code', 'apiserver_request_total', delegated), '{{code}}')], width=8
      ) + without_delegate,
      b.graph(
        'Reads passed on, by what became of them', 'reqps', |||
          ok and error: its own answers. timeout, unreachable and broken_off: look at its pods, its certificate and the
          network. left_alone: it has failed so often that it is not asked for some seconds. refused and no_token: our
          account's rights there, and its token. The runbook of TaffrailDelegateFailing has what to do.
        |||, [b.over_time(rate('result', 'taffrail_delegate_requests_total', ours), '{{result}}')], width=8
      ) + without_delegate,
      b.graph(
        'Reads passed on: duration', 's', |||
          Quantiles of the time that the delegate takes. At 1.5 s a read is given up and fails. All HPAs of a cluster
          share a few workers that wait for answers, so a slow delegate makes all of them late.
        |||, [
          b.over_time(quantile(q, 'taffrail_delegate_request_duration_seconds', ours), q)
          for q in ['0.5', '0.9', '0.99']
        ], bounds=[1], width=8
      ) + without_delegate,
    ]),
    b.row('Reads of targets', [
      b.graph(
        'Targets by standing',
        'none',
        |||
          All targets: known ones gave samples; starting ones were read once; unknown ones should answer and do not; not
          ready ones are not asked for anything yet; leaving ones were told to end.
        |||,
        [b.over_time('sum by (standing) (max by (namespace, service, standing) (taffrail_targets{%s}))' % read, '{{standing}}')],
        steps=true,
        stacked=true,
        width=8
      ),
      b.graph(
        'Targets not known, by namespace',
        'none',
        |||
          Targets that should answer and do not. One namespace: its pods, its NetworkPolicy, its secret. All of them:
          the adapter's own network.
        |||,
        [b.over_time('sum by (namespace) (%s)' % of_service('taffrail_targets', read + ', standing="unknown"'), '{{namespace}}')],
        steps=true,
        width=8
      ),
      b.graph(
        'Failed reads by reason', 'cps', |||
          refused: nobody listens, or a policy forbids it. timeout: an overloaded pod. unauthorized: a wrong or missing
          secret. tls: a certificate. not_found: the histogram or the key is not there. forbidden: an address that may
          not be read. None is the good case.
        |||, [b.over_time(rate('reason', 'taffrail_read_errors_total', read), '{{reason}}')], width=8
      ) + b.when_empty('none'),
      b.graph(
        'Duration of a read', 's', |||
          Quantiles over all targets, and the slowest services. Near the interval, reads are cut short and counted as
          timeouts. What to do: a smaller page (a path of its own for the histogram), or a longer interval.
        |||, [
          b.over_time(quantile(q, 'taffrail_read_duration_seconds', read), 'all, ' + q)
          for q in ['0.5', '0.99']
        ] + [
          b.over_time(
            'topk(5, %s)' % quantile('0.99', 'taffrail_read_duration_seconds', read, ', namespace, service'),
            '{{namespace}}/{{service}}, 0.99'
          ),
        ], width=8
      ),
      b.graph(
        'Age of the values',
        's',
        |||
          The ten services whose values are oldest. A line that climbs is a service that is no longer read. At 30 s
          answers count against the objective.
        |||,
        [b.over_time('topk(10, %s)' % of_service('taffrail_metric_age_seconds'), '{{namespace}}/{{service}}')],
        bounds=[30],
        width=8
      ),
      b.graph(
        'Services by the state of their values',
        'none',
        |||
          ok: every target is known. no_traffic: known to be zero. partial: some targets are unknown. unknown: nothing
          is served, and its HPA keeps its replicas.
        |||,
        [b.over_time('sum by (state) (max by (namespace, service, state) (taffrail_service_state{%s}))' % read, '{{state}}')],
        steps=true,
        stacked=true,
        width=8
      ),
      b.graph(
        'Series read', 'cps', |||
          Samples by what became of them. reset: a process restarted. inconsistent and refused: a broken histogram.
          relaid: other buckets than before, as in a rollout. over_limit: more series than one target may have; what is
          beyond is not counted, so narrow the page with `where`.
        |||, [b.over_time(rate('outcome', 'taffrail_series_total', ours), '{{outcome}}')], width=8
      ),
      b.graph(
        'Lines that could not be read', 'cps', |||
          Broken lines of wanted families, by service: each costs just itself. None is the good case; otherwise the
          app's exporter writes something that is no valid exposition.
        |||, [b.over_time(rate('namespace, service', 'taffrail_bad_lines_total', read), '{{namespace}}/{{service}}')], width=8
      ),
      b.graph(
        'Values with reservations', 'none', |||
          Targets that have just begun, whose latencies do not count yet, and services without a bucket bound at their
          objective, whose slow share is an estimate. What to do for the latter: give the histogram a bucket at the
          promised latency.
        |||, [
          b.over_time('sum(%s)' % of_service('taffrail_cold_targets'), 'cold targets'),
          b.over_time('sum(%s)' % of_service('taffrail_objective_bound_missing'), 'services without a bound at their objective'),
        ], steps=true, width=8
      ),
    ]),
    b.row('Control plane', [
      b.timeline(
        'API available, by name',
        'none',
        |||
          Whether the API server can reach each of our APIs. "no" for external.metrics.k8s.io: HPAs get no value. What
          to do: `kubectl get apiservice`.
        |||,
        [b.over_time('max by (name) (aggregator_unavailable_apiservice{%s}) == bool 0' % apis, '{{name}}')],
        mappings=b.yes_or_no(1),
        width=8,
        height=8
      ),
      b.graph(
        'API unavailable, by reason', 'cps', |||
          How often the API server found our APIs unavailable. FailedDiscoveryCheck: it cannot connect, or does not
          trust the certificate. MissingEndpoints: no replica is ready. None is the good case.
        |||, [b.over_time(rate('name, reason', 'aggregator_unavailable_apiservice_total', apis), '{{name}} {{reason}}')], width=8
      ) + b.when_empty('none'),
      b.timeline(
        'The APIService leads here',
        'none',
        |||
          Whether each APIService names this adapter. "no": another one (KEDA, prometheus-adapter) has taken the API
          over, or was there first, and HPAs read from that one.
        |||,
        [b.over_time('min by (apiservice) (taffrail_apiservice_ours{%s})' % ours, '{{apiservice}}')],
        mappings=b.yes_or_no(1),
        width=8,
        height=8
      ),
      b.graph(
        'External metrics worked out, by error', 'cps', |||
          What the HPA controller made of external metrics. error="internal": a read failed. error="spec": an HPA is
          wrong. Needs the metrics of kube-controller-manager, which managed clusters may not give.
        |||, [b.over_time(
          rate('error', controller + '_metric_computation_total', 'cluster="$cluster", metric_type="External"'), '{{error}}'
        )], width=6
      ),
      b.graph(
        'External metrics worked out: duration', 's', |||
          What the HPA controller takes to work out one external metric. It holds the way through the API server to the
          adapter and back. Far above the adapter's own latency: the API server is slow, or the controller's client
          waits for its rate limit.
        |||, [
          b.over_time(
            quantile(q, controller + '_metric_computation_duration_seconds', 'cluster="$cluster", metric_type="External"'), q
          )
          for q in ['0.5', '0.99']
        ], width=6
      ),
      b.graph(
        'Syncs of HPAs',
        'cps',
        |||
          Syncs by action and error. Four a minute and HPA is full speed; fewer is a controller that cannot keep up.
        |||,
        [b.over_time(
          rate('action, error', controller + '_reconciliations_total', 'cluster="$cluster"'),
          '{{action}}, error: {{error}}'
        )],
        width=6
      ),
      b.graph(
        'Since the last sync', 's', |||
          The ten HPAs whose last sync is longest ago, as the adapter saw it. The period is 15 s.
        |||, [b.over_time(
          'topk(10, time() - max by (namespace, horizontalpodautoscaler) '
          + '(taffrail_autoscaler_last_sync_timestamp_seconds{%s}))' % hpas,
          '{{namespace}}/{{horizontalpodautoscaler}}'
        )], bounds=[30], width=6
      ),
      b.graph(
        'Decisions worked out beside the HPAs', 'cps', |||
          The adapter works out each sync of an HPA itself, for `taffrail explain`. agreed is the good case; parted: the
          HPA decided otherwise with everything seen, which is worth a report; the others lack a fact. "by others":
          somebody else changed the replicas.
        |||, [
          b.over_time(rate('outcome', 'taffrail_shadow_decisions_total', ours), '{{outcome}}'),
          b.over_time(
            'sum(rate(taffrail_shadow_changes_by_others_total{%s}[$__rate_interval]))' % ours, 'replicas changed by others'
          ),
        ], width=8
      ),
      b.graph(
        'What is kept to explain', 'none', |||
          Syncs that are kept, and what was dropped for want of room: reads that came too fast, syncs before their hour,
          whole HPAs. Dropped ones cannot be explained; nothing else depends on them.
        |||, [
          b.over_time('sum(taffrail_shadow_syncs{%s})' % ours, 'syncs kept'),
          b.over_time(increase('what', 'taffrail_shadow_dropped_total'), 'dropped: {{what}}'),
        ], width=8
      ),
      b.graph(
        'Objects held', 'none', |||
          RequestMetrics objects, pods and HPAs that the adapter holds, and objects whose newest version is wrong. What
          to do for wrong ones: `kubectl get requestmetrics -A` shows them and says why.
        |||, [
          b.over_time('max by (resource) (taffrail_objects_held{%s})' % ours, '{{resource}}'),
          b.over_time('max(taffrail_objects_wrong{%s})' % ours, 'wrong'),
        ], steps=true, width=8
      ),
    ]),
    b.row('Process', [
      b.graph(
        'CPU', 'none', |||
          CPUs used by each replica. At a CPU limit the kernel stops it for parts of a second, which shows as latency:
          give it none.
        |||, [b.over_time(rate('instance', 'process_cpu_seconds_total', ours), '{{instance}}')], width=6
      ),
      b.graph(
        'Memory', 'bytes', |||
          Resident memory of each replica, what of it is kept to explain HPAs, and the address space. A climb without
          new objects is worth a report.
        |||, [
          b.over_time(by_instance('process_resident_memory_bytes'), '{{instance}} resident'),
          b.over_time(by_instance('taffrail_shadow_bytes'), '{{instance}} to explain'),
          b.over_time(by_instance('process_virtual_memory_bytes'), '{{instance}} virtual'),
        ], width=6
      ),
      b.graph(
        'File descriptors', 'none', |||
          Open descriptors of each replica and how many it may open. Each target, watch and caller costs one. Near the
          limit reads fail: raise it, or look for a leak.
        |||, [
          b.over_time(by_instance('process_open_fds'), '{{instance}} open'),
          b.over_time('min(process_max_fds{%s})' % ours, 'limit'),
        ], dashed=['limit'], width=6
      ),
      b.graph(
        'Running for', 's', |||
          Seconds since each replica started. A fall to zero is a restart: `kubectl describe pod` has the reason of the
          last end.
        |||, [b.over_time('time() - %s' % by_instance('process_start_time_seconds'), '{{instance}}')], width=6
      ),
      b.timeline(
        'Readiness',
        'none',
        |||
          Each readiness check on its worst replica. What to do: the check's name says what is missing; /readyz?verbose
          and the log say why.
        |||,
        [b.over_time('min by (name) (kubernetes_healthcheck{%s, type="readyz"})' % ours, '{{name}}')],
        mappings=b.yes_or_no(1),
        width=6,
        height=8
      ),
      b.timeline(
        'Leader',
        'none',
        |||
          Which replica writes the status of RequestMetrics objects. No leader costs fresh status and nothing else;
          leaders in quick turn are replicas that restart, or a slow API server.
        |||,
        [b.over_time(by_instance('leader_election_master_status'), '{{instance}}')],
        mappings=b.words({ '0': ['follows', 'text'], '1': ['leads', 'green'] }),
        width=6,
        height=8
      ),
      b.timeline(
        'Watches',
        'none',
        |||
          Whether what is known of each kind of object is complete and watched, on the worst replica. "no": the adapter
          goes on with what it knew. What to do: look at the API server, and at the adapter's rights.
        |||,
        [b.over_time('min by (resource) (taffrail_watch_synced{%s})' % ours, '{{resource}}')],
        mappings=b.yes_or_no(1),
        width=6,
        height=8
      ),
      b.graph(
        'Watches begun again, status written', 'cps', |||
          Complete lists after the first one, by resource: each is a burst of work for the API server. Beside it
          attempts to write the status of RequestMetrics objects, by result.
        |||, [
          b.over_time(rate('resource', 'taffrail_watch_restarts_total', ours), 'list of {{resource}}'),
          b.over_time(rate('result', 'taffrail_status_writes_total', ours), 'status {{result}}'),
        ], width=6
      ),
      b.tile(
        'Configuration accepted', 'none', |||
          Whether the configuration file was accepted when it was last read, on every replica. "no": the last accepted
          version is in force; the log names the line. Empty without a configuration file.
        |||, [b.now('min(taffrail_config_last_reload_successful{%s})' % ours)], mappings=b.yes_or_no(1), width=6, height=6
      ) + b.when_empty('no file'),
      b.tile(
        'Age of the configuration', 's', |||
          How long ago the configuration was last accepted, on the replica that is furthest behind.
        |||, [b.now(
          'time() - min(taffrail_config_last_reload_success_timestamp_seconds{%s})' % ours
        )], width=6, height=6, decimals=0
      ) + b.when_empty('no file'),
      b.graph(
        'Configuration and certificate read again', 'none', |||
          Reads of the configuration file and of the serving certificate that brought something new, by result. A
          failure leaves the version before in force; the log says what is wrong.
        |||, [
          b.over_time(increase('result', 'taffrail_config_reloads_total'), 'configuration: {{result}}'),
          b.over_time(increase('result', 'taffrail_certificate_reloads_total'), 'certificate: {{result}}'),
        ], steps=true, height=6
      ),
    ]),
  ],
)
