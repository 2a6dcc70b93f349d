{{/* The chart's name as names and labels have it. Of 63 characters, ten are left for what is put behind it. */}}
{{- define "taffrail.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 53 | trimSuffix "-" }}
{{- end }}

{{/*
The name of the Service, and what other names begin with. 53 characters are what Helm gives a release's name, and leave
room for " authority" in the 64 of a certificate's common name. A release's name may have dots, a Service's may not.
*/}}
{{- define "taffrail.fullname" -}}
{{- $name := include "taffrail.name" . }}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) }}
{{- .Values.fullnameOverride | default $full | replace "." "-" | trunc 53 | trimSuffix "-" }}
{{- end }}

{{- define "taffrail.namespace" -}}
{{- .Values.namespaceOverride | default .Release.Namespace }}
{{- end }}

{{/*
The labels by which the pods are found. Names that come from outside go through toYaml here and elsewhere: a release or a
namespace may be called 123 or true, which to YAML is no text.
*/}}
{{- define "taffrail.selectorLabels" -}}
app.kubernetes.io/name: {{ include "taffrail.name" . | toYaml }}
app.kubernetes.io/instance: {{ .Release.Name | toYaml }}
{{- end }}

{{/* Labels of every object. Helm adds app.kubernetes.io/managed-by by itself, when it is Helm that manages them. */}}
{{- define "taffrail.labels" -}}
{{- $chart := printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- $own := dict "helm.sh/chart" $chart "app.kubernetes.io/version" .Chart.AppVersion }}
{{- merge (include "taffrail.selectorLabels" . | fromYaml) $own .Values.commonLabels | toYaml }}
{{- end }}

{{/* Labels of pods: nothing that changes with a version of the chart alone, since that would restart them. */}}
{{- define "taffrail.podLabels" -}}
{{- merge (include "taffrail.selectorLabels" . | fromYaml) .Values.podLabels .Values.commonLabels | toYaml }}
{{- end }}

{{- define "taffrail.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- .Values.serviceAccount.name | default (include "taffrail.fullname" .) }}
{{- else }}
{{- .Values.serviceAccount.name | default "default" }}
{{- end }}
{{- end }}

{{- define "taffrail.image" -}}
{{- $image := .Values.image }}
{{- $name := empty $image.registry | ternary $image.repository (printf "%s/%s" $image.registry $image.repository) }}
{{- if $image.digest }}
{{- printf "%s@%s" $name $image.digest }}
{{- else }}
{{- printf "%s:%s" $name ($image.tag | default .Chart.AppVersion) }}
{{- end }}
{{- end }}

{{- define "taffrail.priorityClassName" -}}
{{- $inSystem := eq (include "taffrail.namespace" .) "kube-system" }}
{{- .Values.priorityClassName | default (ternary "system-cluster-critical" "" $inSystem) }}
{{- end }}

{{/* Whether the replicas share a certificate of their own making. */}}
{{- define "taffrail.isSelfMade" -}}
{{- if has .Values.tls.mode (list "self-signed" "insecure") }}true{{ end }}
{{- end }}

{{/*
The Secret with tls.crt, tls.key and ca.crt. The one that the adapter fills has another name than those that are made
for it, so that a change of mode never leaves two owners of one Secret.
*/}}
{{- define "taffrail.certificateSecret" -}}
{{- if eq .Values.tls.mode "existing-secret" }}
{{- .Values.tls.existingSecret.name }}
{{- else }}
{{- include "taffrail.fullname" . }}-{{ include "taffrail.isSelfMade" . | empty | ternary "tls" "certificate" }}
{{- end }}
{{- end }}

{{/* Every name under which the Service is reached, as a YAML list. API servers ask for the one that ends in .svc. */}}
{{- define "taffrail.dnsNames" -}}
{{- $service := include "taffrail.fullname" . }}
{{- $namespaced := printf "%s.%s" $service (include "taffrail.namespace" .) }}
{{- $full := printf "%s.svc.%s" $namespaced .Values.tls.clusterDomain }}
{{- list $service $namespaced (printf "%s.svc" $namespaced) $full | toYaml }}
{{- end }}

{{/* The groups and versions that are served, and whether the chart makes their APIServices, as a YAML list. */}}
{{- define "taffrail.served" -}}
{{- $priority := .Values.apiService.versionPriority }}
- {group: external.metrics.k8s.io, version: v1beta1, priority: {{ $priority }}, isMade: {{ .Values.apiService.create }}}
{{- if .Values.explanations.enabled }}
- {group: explain.taffrail.dev, version: v1alpha1, priority: {{ $priority }}, isMade: true}
{{- end }}
{{- if .Values.customMetrics.enabled }}
- {group: custom.metrics.k8s.io, version: v1beta1, priority: {{ $priority }}, isMade: true}
- {group: custom.metrics.k8s.io, version: v1beta2, priority: {{ add $priority 100 }}, isMade: true}
{{- end }}
{{- end }}

{{/* The annotations by which cert-manager's cainjector keeps an APIService's caBundle. */}}
{{- define "taffrail.injectorAnnotations" -}}
{{- if and (eq .Values.tls.mode "cert-manager") .Values.tls.certManager.addInjectorAnnotation }}
cert-manager.io/inject-ca-from: {{ include "taffrail.namespace" . }}/{{ include "taffrail.fullname" . }}
{{- else if and (eq .Values.tls.mode "existing-secret") .Values.tls.existingSecret.injectCaFromSecret }}
cert-manager.io/inject-ca-from-secret: {{ include "taffrail.namespace" . }}/{{ include "taffrail.certificateSecret" . }}
{{- end }}
{{- end }}

{{/*
What API servers verify the adapter of the mode existing-secret with, PEM; nothing where an injector says so later. Of
the Secret it is ca.crt, never tls.crt, which verifies nothing but itself.
*/}}
{{- define "taffrail.caOfSecret" -}}
{{- $tls := .Values.tls.existingSecret }}
{{- if $tls.caBundle }}
{{- $tls.caBundle }}
{{- else if not (or $tls.injectCaFromSecret .Values.apiService.annotations) }}
{{- $namespace := include "taffrail.namespace" . }}
{{- $advice := print "give tls.existingSecret.caBundle, or set tls.existingSecret.injectCaFromSecret, or name another "
  "injector in apiService.annotations" }}
{{- $authority := "the authority that API servers verify the adapter with" }}
{{- $found := lookup "v1" "Secret" $namespace $tls.name }}
{{- if not $found }}
{{- printf "Secret %s/%s cannot be seen from here, so %s is not known: create it before the installation, or %s"
  $namespace $tls.name $authority $advice | fail }}
{{- end }}
{{- $ca := get ($found.data | default dict) "ca.crt" }}
{{- if not $ca }}
{{- printf "Secret %s/%s has no ca.crt, %s: add it, or %s" $namespace $tls.name $authority $advice | fail }}
{{- end }}
{{- $ca | b64dec }}
{{- end }}
{{- end }}

{{/*
The certificate of the mode helm, as JSON of a Secret's data: that of the cluster until it is due, else a new one. It is
due two thirds into its life, which stands in an annotation since templates cannot read certificates. The authority
before it stays trusted, for pods that have not read the new files yet.
*/}}
{{- define "taffrail.helmCertificate" -}}
{{- $secret := include "taffrail.certificateSecret" . }}
{{- $found := lookup "v1" "Secret" (include "taffrail.namespace" .) $secret | default dict }}
{{- $data := $found.data | default dict }}
{{- $renewAt := dig "metadata" "annotations" "taffrail.dev/renew-at" "0" $found }}
{{- $isWhole := and (get $data "ca.crt") (get $data "tls.crt") (get $data "tls.key") }}
{{- if and $isWhole (lt (now | unixEpoch | int64) ($renewAt | int64)) }}
{{- dict "renewAt" $renewAt "data" $data | toJson }}
{{- else }}
{{- $days := int .Values.tls.helm.validityDays }}
{{- $names := include "taffrail.dnsNames" . | fromYamlArray }}
{{- $name := printf "%s authority" (include "taffrail.fullname" .) }}
{{- $authority := genCAWithKey $name $days (genPrivateKey "ecdsa") }}
{{- $serving := genSignedCertWithKey (index $names 2) (list) $names $days $authority (genPrivateKey "ecdsa") }}
{{- $before := get $data "ca.crt" | b64dec | regexFind "-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n" }}
{{- $bundle := print $authority.Cert $before }}
{{- $new := dict "ca.crt" ($bundle | b64enc) "tls.crt" ($serving.Cert | b64enc) "tls.key" ($serving.Key | b64enc) }}
{{- $twoThirds := div (mul $days 86400 2) 3 }}
{{- dict "renewAt" (add (now | unixEpoch | int64) $twoThirds | toString) "data" $new | toJson }}
{{- end }}
{{- end }}

{{/* How a Prometheus verifies the adapter: a field of a ServiceMonitor's endpoint. */}}
{{- define "taffrail.scrapeTls" -}}
ca:
  secret:
    name: {{ include "taffrail.certificateSecret" . | toYaml }}
    key: ca.crt
serverName: {{ index (include "taffrail.dnsNames" . | fromYamlArray) 2 }}
{{- end }}

{{/* Every object but the cluster's begins with this. */}}
{{- define "taffrail.metadata" -}}
{{- $ := index . 0 }}
{{- $suffix := index . 1 -}}
name: {{ include "taffrail.fullname" $ }}{{ $suffix }}
namespace: {{ include "taffrail.namespace" $ | toYaml }}
labels:
  {{- include "taffrail.labels" $ | nindent 2 }}
{{- end }}

{{- define "taffrail.clusterMetadata" -}}
{{- $ := index . 0 }}
{{- $suffix := index . 1 -}}
name: {{ include "taffrail.fullname" $ }}{{ $suffix }}
labels:
  {{- include "taffrail.labels" $ | nindent 2 }}
{{- end }}

{{- define "taffrail.subject" -}}
- kind: ServiceAccount
  name: {{ include "taffrail.serviceAccountName" . | toYaml }}
  namespace: {{ include "taffrail.namespace" . | toYaml }}
{{- end }}

{{/* What to do where an APIService is another adapter's. */}}
{{- define "taffrail.foreignApiService" -}}
{{- $name := index . 0 }}
{{- $owner := index . 1 }}
{{- $group := $name | splitList "." | rest | join "." }}
{{- printf "APIService %s leads to Service %s/%s, and a cluster has one adapter of %s. "
  $name $owner.namespace $owner.name $group }}
{{- if eq $group "custom.metrics.k8s.io" }}
{{- print "Leave it there with customMetrics.enabled=false: external metrics need none of it." }}
{{- else }}
{{- print "Leave it there with apiService.create=false, and HPAs go on reading from the other adapter. Or change over: "
  "delete the APIService (and where a chart of the other adapter makes it, tell that chart not to), and install with "
  "delegate.url=https://" $owner.name "." $owner.namespace ".svc, so that what only the other adapter has is read there." }}
{{- end }}
{{- end }}

{{/*
The relabelings of a monitor's endpoint. Rules and boards select by the job taffrail, which would else be the name of the
Service.
*/}}
{{- define "taffrail.relabelings" -}}
relabelings:
- targetLabel: job
  replacement: taffrail
{{- with .relabelings }}
{{ toYaml . }}
{{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Name, labels and hook of what `helm test` creates. Its labels are not the Service's: it is no replica. */}}
{{- define "taffrail.checkMetadata" -}}
{{- $ := index . 0 }}
{{- $weight := index . 1 -}}
name: {{ include "taffrail.fullname" $ }}-check
labels:
  {{- $own := dict "app.kubernetes.io/name" (printf "%s-check" (include "taffrail.name" $)) }}
  {{- merge $own (include "taffrail.labels" $ | fromYaml) | toYaml | nindent 2 }}
annotations:
  helm.sh/hook: test
  helm.sh/hook-weight: {{ $weight | quote }}
  helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}
