{{- define "rlhf-operator.config" -}}
namespace: {{ .Release.Namespace }}
watchNamespaces: {{ include "rlhf-operator.namespaces" . }}
images:
  triton: {{ include "rlhf-operator.partImage" (list . "triton") | quote }}
  guard: {{ include "rlhf-operator.partImage" (list . "guard") | quote }}
  artifacts: {{ include "rlhf-operator.partImage" (list . "artifacts") | quote }}
routers:
  {{- range list "gatewayAPI" "istio" "service" }}
  {{ . }}: {{ get $.Values.routers . }}
  {{- end }}
readNodes: {{ or (eq .Values.rbac.scope "Cluster") .Values.rbac.gpuPreflight }}
{{ toYaml .Values.config }}
{{- end }}
