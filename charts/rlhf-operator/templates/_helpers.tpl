{{- define "rlhf-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "rlhf-operator.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "rlhf-operator.name" .) .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "rlhf-operator.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "rlhf-operator.selector" -}}
app.kubernetes.io/name: {{ include "rlhf-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "rlhf-operator.labels" -}}
{{ include "rlhf-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: rlhf-operator
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "rlhf-operator.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "rlhf-operator.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- /* The registry with its slash, or nothing. */}}
{{- define "rlhf-operator.registry" -}}
{{- with .Values.image.registry }}{{ trimSuffix "/" . }}/{{ end }}
{{- end }}

{{- define "rlhf-operator.image" -}}
{{- $name := printf "%s%s" (include "rlhf-operator.registry" .) .Values.image.repository }}
{{- if .Values.image.digest }}
{{- printf "%s@%s" $name .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" $name (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- /* The image of a part of the model pods: (list . "triton"). */}}
{{- define "rlhf-operator.partImage" -}}
{{- $root := index . 0 }}{{- $part := index . 1 }}
{{- $usual := printf "%srlhf-%s:%s" (include "rlhf-operator.registry" $root) $part $root.Chart.AppVersion }}
{{- default $usual (get $root.Values.images $part) }}
{{- end }}

{{- /* The namespaces to work in, as JSON; empty means all. */}}
{{- define "rlhf-operator.namespaces" -}}
{{- if and (eq .Values.rbac.scope "Namespaces") (not .Values.watchNamespaces) }}
{{- list .Release.Namespace | toJson }}
{{- else }}
{{- .Values.watchNamespaces | uniq | toJson }}
{{- end }}
{{- end }}

{{- /* The namespaces for which an admission policy holds: those the operator works in. */}}
{{- define "rlhf-operator.bindingNamespaces" -}}
{{- $namespaces := include "rlhf-operator.namespaces" . | fromJsonArray }}
{{- if $namespaces }}
matchResources:
  namespaceSelector:
    matchExpressions:
      - key: kubernetes.io/metadata.name
        operator: In
        values:
          {{- toYaml $namespaces | nindent 10 }}
{{- end }}
{{- end }}
