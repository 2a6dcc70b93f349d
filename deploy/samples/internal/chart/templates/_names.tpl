{{/* The labels by which pods are found. The name is fixed: a namespace has one of these. */}}
{{- define "internal.selector" -}}
app.kubernetes.io/name: internal
{{- end }}

{{- define "internal.labels" -}}
{{ include "internal.selector" . }}
app.kubernetes.io/part-of: internal
{{- end }}

{{- define "internal.image" -}}
{{ with .Values.hub }}{{ . }}/{{ end }}{{ .Values.image }}:{{ .Values.tag }}
{{- end }}
