// The rules and boards as a Prometheus mixin: https://monitoring.mixins.dev.
//
//   jsonnet -e '(import "mixin.libsonnet").prometheusAlerts'
//
// What rules/ and boards/ hold is the source, and this file only reads it: with the defaults below it gives the very
// same rules, which a test compares. What differs from cluster to cluster is in _config.
local replaced(text, replacements) =
  std.foldl(function(sofar, one) std.strReplace(sofar, one[0], one[1]), replacements, text);

{
  _config+:: {
    // The series of the adapter: the job of its ServiceMonitor.
    taffrailSelector: 'job="taffrail"',

    // The series of kube-state-metrics, which must be scraped with honorLabels.
    kubeStateMetricsSelector: 'job="kube-state-metrics"',

    // The APIService in the series of the API servers.
    apiServiceSelector: 'name="v1beta1.external.metrics.k8s.io"',

    // The label that tells clusters apart where one Prometheus has several.
    clusterLabel: 'cluster',

    // Where whoever is called finds runbooks.md.
    runbookBase: 'dashboards/runbooks.md',
  },

  local config = self._config,

  // As the plain files have it, and as it is wanted.
  local rules(text) = std.parseYaml(replaced(text, [
    ['job="taffrail"', config.taffrailSelector],
    ['job="kube-state-metrics"', config.kubeStateMetricsSelector],
    ['name="v1beta1.external.metrics.k8s.io"', config.apiServiceSelector],
    ['(cluster,', '(%s,' % config.clusterLabel],
    ['$labels.cluster', '$labels.' + config.clusterLabel],
    ['dashboards/runbooks.md', config.runbookBase],
  ])),

  prometheusRules+:: rules(importstr 'rules/recording.yaml'),
  prometheusAlerts+:: rules(importstr 'rules/alerts.yaml'),

  grafanaDashboards+:: {
    'taffrail-adapter.json': import 'boards/adapter.json',
    'taffrail-fleet.json': import 'boards/fleet.json',
    'taffrail-hpa.json': import 'boards/hpa.json',
    'taffrail-slo.json': import 'boards/slo.json',
  },
}
