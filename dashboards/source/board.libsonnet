// What the boards are made of: queries, panels, rows that place their panels, variables, and a board around them.
// A board's own file says what is asked and what the answer means; everything that is the same on all of them is here.

local datasource = { type: 'prometheus', uid: '${datasource}' };

// Green below the first bound, then orange, then red. Without `serious` there is no red.
local rising(warning, serious=null) = [{ color: 'green' }, { color: 'orange', value: warning }]
                                      + (if serious == null then [] else [{ color: 'red', value: serious }]);

// Red below the first bound, then orange, then green.
local falling(serious, fine) = [{ color: 'red' }, { color: 'orange', value: serious }, { color: 'green', value: fine }];

local plain = [{ color: 'text' }];

// 0 and 1 in words; `good` says which of them is green, and what the other's colour is.
local yes_or_no(good, otherwise='red') = [{
  type: 'value',
  options: {
    '0': { index: 0, text: 'no', color: if good == 0 then 'green' else otherwise },
    '1': { index: 1, text: 'yes', color: if good == 1 then 'green' else otherwise },
  },
}];

// Numbers that stand for words, in their order: { '1': ['ok', 'green'] }.
local words(meanings) = [{
  type: 'value',
  options: {
    [number]: { index: std.parseInt(number), text: meanings[number][0], color: meanings[number][1] }
    for number in std.objectFields(meanings)
  },
}];

// Text that is wrapped in the source, as one line.
local one_line(text) = std.strReplace(std.rstripChars(text, '\n'), '\n', ' ');

local panel(type, title, unit, description, targets, width, height) = {
  type: type,
  title: title,
  description: one_line(description),
  datasource: datasource,
  fieldConfig: { defaults: { unit: unit }, overrides: [] },
  targets: [
    { datasource: datasource, refId: std.char(65 + index) } + targets[index] { expr: std.rstripChars(super.expr, '\n') }
    for index in std.range(0, std.length(targets) - 1)
  ],
  gridPos: { w: width, h: height },
};

{
  rising: rising,
  falling: falling,
  plain: plain,
  yes_or_no: yes_or_no,
  words: words,

  // A query over the time range, drawn as a line.
  over_time(expr, legend):: { expr: expr, legendFormat: legend, range: true, instant: false },

  // A query at the end of the time range.
  now(expr, legend=''):: { expr: expr, legendFormat: legend, range: false, instant: true },

  // The same as the rows of a table, one for each series.
  rows(expr):: { expr: expr, format: 'table', range: false, instant: true },

  // A number, or a few of them.
  tile(title, unit, description, targets, steps=plain, mappings=[], width=4, height=4, decimals=null)::
    panel('stat', title, unit, description, targets, width, height) + {
      fieldConfig+: {
        defaults+: {
          thresholds: { mode: 'absolute', steps: steps },
          mappings: mappings,
          [if decimals != null then 'decimals']: decimals,
        },
      },
      options: {
        colorMode: 'value',
        graphMode: 'none',
        justifyMode: 'auto',
        orientation: 'auto',
        reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false },
        textMode: if std.length(targets) == 1 && targets[0].legendFormat == '' then 'value' else 'value_and_name',
      },
    },

  // Lines over time. `bounds` are dashed lines across; `dashed` names series that are limits and no measurements.
  graph(title, unit, description, targets, bounds=[], dashed=[], steps=false, stacked=false, width=12, height=8, min=0)::
    panel('timeseries', title, unit, description, targets, width, height) + {
      fieldConfig: {
        defaults: {
          unit: unit,
          [if min != null then 'min']: min,
          custom: {
            drawStyle: 'line',
            fillOpacity: if stacked then 30 else 0,
            lineInterpolation: if steps then 'stepAfter' else 'linear',
            lineWidth: 1,
            showPoints: 'never',
            // A gap is an absent value, and an absent value is not the one before it.
            spanNulls: false,
            stacking: { mode: if stacked then 'normal' else 'none' },
            thresholdsStyle: { mode: if bounds == [] then 'off' else 'dashed' },
          },
          thresholds: {
            mode: 'absolute',
            steps: [{ color: 'transparent' }] + [{ color: 'orange', value: bound } for bound in bounds],
          },
        },
        overrides: [
          {
            matcher: { id: 'byName', options: name },
            properties: [
              { id: 'custom.lineStyle', value: { dash: [6, 6], fill: 'dash' } },
              { id: 'color', value: { mode: 'fixed', fixedColor: 'orange' } },
            ],
          }
          for name in dashed
        ],
      },
      options: {
        legend: { calcs: ['lastNotNull', 'max'], displayMode: 'table', placement: 'bottom', showLegend: true },
        tooltip: { mode: 'multi', sort: 'desc' },
      },
    },

  // Bands of states over time.
  timeline(title, unit, description, targets, mappings=[], width=12, height=6)::
    panel('state-timeline', title, unit, description, targets, width, height) + {
      fieldConfig+: {
        defaults+: {
          color: { mode: if mappings == [] then 'palette-classic' else 'thresholds' },
          custom: { fillOpacity: 70, lineWidth: 0, spanNulls: false },
          mappings: mappings,
          thresholds: { mode: 'absolute', steps: plain },
        },
      },
      options: {
        alignValue: 'center',
        legend: { displayMode: 'list', placement: 'bottom', showLegend: false },
        mergeValues: true,
        rowHeight: 0.8,
        showValue: 'auto',
        tooltip: { mode: 'single', sort: 'none' },
      },
    },

  // Counts by bucket over time, from a histogram.
  heatmap(title, unit, description, expr, width=12, height=8)::
    panel('heatmap', title, unit, description, [
      { expr: expr, format: 'heatmap', legendFormat: '{{le}}', range: true, instant: false },
    ], width, height) + {
      options: {
        calculate: false,
        cellGap: 1,
        color: { mode: 'scheme', scheme: 'Oranges', steps: 64, exponent: 0.5, fill: 'dark-orange', reverse: false },
        filterValues: { le: 1e-9 },
        legend: { show: true },
        rowsFrame: { layout: 'auto' },
        tooltip: { mode: 'single', showColorScale: false, yHistogram: false },
        yAxis: { axisPlacement: 'left', reverse: false, unit: unit },
      },
    },

  // One line for each HPA or service. `columns` is a list of [label or query, heading, unit]; queries are `A`, `B`, ...
  // in the order of `targets`, which are joined by their labels. `link` leads from each line to another board.
  table(title, description, targets, columns, link=null, sorted_by=null, width=24, height=8)::
    panel('table', title, 'short', description, targets, width, height) + {
      fieldConfig+: {
        overrides: [
          {
            matcher: { id: 'byName', options: column[1] },
            properties: [{ id: 'unit', value: column[2] }],
          }
          for column in columns
          if std.length(column) == 3
        ] + (if link == null then [] else [{
               matcher: { id: 'byName', options: link.column },
               properties: [{ id: 'links', value: [{ title: link.title, url: link.url }] }],
             }]),
      },
      options: {
        showHeader: true,
        [if sorted_by != null then 'sortBy']: [{ displayName: sorted_by, desc: true }],
      },
      transformations: [
        { id: 'merge', options: {} },
        {
          id: 'organize',
          options: {
            // With one query the merged column is called Value, and with several Value #A and so on.
            local source(name) =
              if std.length(name) != 1 then name
              else if std.length(targets) == 1 then 'Value'
              else 'Value #' + name,
            excludeByName: { Time: true },
            indexByName: { [source(columns[index][0])]: index for index in std.range(0, std.length(columns) - 1) },
            renameByName: { [source(column[0])]: column[1] for column in columns },
          },
        },
      ],
    },

  // What a panel says while its queries give nothing, where that is no lack of data.
  when_empty(text):: { fieldConfig+: { defaults+: { noValue: text } } },

  row(title, panels):: { title: title, panels: panels },

  // The variables that several boards have.
  variables: {
    local query(name, label, expr, many) = {
      type: 'query',
      name: name,
      label: label,
      datasource: datasource,
      query: expr,
      definition: expr,
      // When the time range changes: what is gone now was there then.
      refresh: 2,
      sort: 1,
      includeAll: many,
      multi: many,
      [if many then 'allValue']: '.+',
      current: {},
      hide: 0,
      options: [],
    },
    datasource: {
      type: 'datasource',
      name: 'datasource',
      label: 'Data source',
      query: 'prometheus',
      current: {},
      hide: 0,
      includeAll: false,
      multi: false,
      options: [],
      refresh: 1,
    },
    // Empty where series have no such label, and `cluster=""` finds just those.
    cluster: query('cluster', 'Cluster', 'label_values(taffrail_build_info, cluster)', false),
    // All of them are those of the adapter: `.+` would let Kubernetes' own servers in, whose series have the same names.
    job: query('job', 'Job', 'label_values(taffrail_build_info{cluster="$cluster"}, job)', true) { allValue:: null },
    instance: query(
      'instance', 'Instance', 'label_values(taffrail_build_info{cluster="$cluster", job=~"$job"}, instance)', true
    ),
    one(name, label, expr):: query(name, label, expr, false),
    many(name, label, expr):: query(name, label, expr, true),
    hidden(name, label, expr):: query(name, label, expr, false) + { hide: 2 },
    text(name, label, value):: {
      type: 'textbox',
      name: name,
      label: label,
      query: value,
      current: { text: value, value: value },
      hide: 0,
      options: [],
    },
  },

  // A board. Its rows are laid out from left to right and from top to bottom, and its panels numbered.
  board(uid, title, description, variables, rows, from, annotations=[]):: {
    local boards = [
      ['taffrail-fleet', 'Fleet', 'Which HPAs need a look'],
      ['taffrail-hpa', 'One HPA', 'Why this HPA has the replicas it has'],
      ['taffrail-adapter', 'Adapter', 'How the adapter itself is doing'],
      ['taffrail-slo', 'Objectives', 'What was promised, and what is left of the error budgets'],
    ],
    local place(at, panel) =
      local wraps = 24 < at.x + panel.gridPos.w;
      local x = if wraps then 0 else at.x;
      local y = if wraps then at.y + at.tallest else at.y;
      {
        x: x + panel.gridPos.w,
        y: y,
        tallest: if wraps then panel.gridPos.h else std.max(at.tallest, panel.gridPos.h),
        placed: at.placed + [panel { gridPos+: { x: x, y: y } }],
      },
    local lay_out(at, row) =
      local heading = { type: 'row', title: row.title, collapsed: false, panels: [], gridPos: { w: 24, h: 1 } };
      local below = std.foldl(place, [heading] + row.panels, at);
      { x: 0, y: below.y + below.tallest, tallest: 0, placed: below.placed },
    local panels = std.foldl(lay_out, rows, { x: 0, y: 0, tallest: 0, placed: [] }).placed,
    uid: uid,
    title: title,
    description: description,
    tags: ['taffrail', 'autoscaling'],
    schemaVersion: 39,
    editable: false,
    graphTooltip: 1,
    timezone: 'utc',
    time: { from: from, to: 'now' },
    refresh: '30s',
    annotations: { list: [{ datasource: datasource, enable: true, hide: false } + note for note in annotations] },
    links: [
      {
        type: 'link',
        title: other[1],
        tooltip: other[2],
        url: '/d/' + other[0],
        icon: 'dashboard',
        includeVars: true,
        keepTime: true,
        targetBlank: false,
        asDropdown: false,
        tags: [],
      }
      for other in boards
      if other[0] != uid
    ],
    templating: { list: variables },
    panels: [{ id: index + 1 } + panels[index] for index in std.range(0, std.length(panels) - 1)],
  },
}
