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
