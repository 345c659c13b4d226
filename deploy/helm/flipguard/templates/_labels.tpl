{{- define "flipguard.labels" -}}
app.kubernetes.io/name: flipguard
app.kubernetes.io/part-of: flipguard
{{- end }}

{{- define "flipguard.metadata" -}}
name: flipguard
namespace: {{ .Release.Namespace }}
labels:
  {{- include "flipguard.labels" . | nindent 2 }}
{{- end }}

{{- define "flipguard.clusterMetadata" -}}
name: flipguard
labels:
  {{- include "flipguard.labels" . | nindent 2 }}
{{- end }}

{{- define "flipguard.subject" -}}
- kind: ServiceAccount
  name: flipguard
  namespace: {{ .Release.Namespace }}
{{- end }}

{{- /* `true` if flipguard adds labels to Deployments, and nothing otherwise. */}}
{{- define "flipguard.addsLabels" -}}
{{- if not (kindIs "map" .Values.labels) }}
{{- fail (printf "labels is %v, and it has to be an object; set labels.enabled=false (or true)" .Values.labels) }}
{{- end }}
{{- if .Values.labels.enabled }}true{{ end }}
{{- end }}
