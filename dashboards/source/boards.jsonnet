// Every board, by the name of its file: jsonnet --multi dashboards/boards dashboards/source/boards.jsonnet
{
  'adapter.json': import 'adapter.jsonnet',
  'fleet.json': import 'fleet.jsonnet',
  'hpa.json': import 'hpa.jsonnet',
  'slo.json': import 'slo.jsonnet',
}
