{{- /* What the operator may do in a namespace that it works in. */}}
{{- define "rlhf-operator.rules" -}}
# What people write is only read; the answer goes to the status.
- apiGroups: [rlhf.dev]
  resources: [rlhfmodels, rlhfmodelversions, alignmentpolicies, rlhfdecisions]
  verbs: [get, list, watch]
- apiGroups: [rlhf.dev]
  resources: [rlhfrollouts]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [rlhf.dev]
  resources:
    - rlhfmodels/status
    - rlhfmodelversions/status
    - alignmentpolicies/status
    - rlhfdecisions/status
    - rlhfrollouts/status
  verbs: [get, patch, update]
# Some clusters ask for this before an object may name a model as its owner.
- apiGroups: [rlhf.dev]
  resources: [rlhfmodels/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [deployments, controllerrevisions]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services, configmaps]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
{{- if .Values.routers.gatewayAPI }}
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, list, watch, create, patch, delete]
{{- end }}
{{- if .Values.routers.istio }}
- apiGroups: [networking.istio.io]
  resources: [virtualservices]
  verbs: [get, list, watch, create, patch, delete]
{{- end }}
- apiGroups: [""]
  resources: [pods]
  # The replica ratio is set by a label on pods that run.
  verbs: [get, list, watch{{ if .Values.routers.service }}, patch{{ end }}]
- apiGroups: ["", events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- if .Values.rbac.signingKey }}
# To make the key that signs response ids in a model's namespace. No Secret can be read, changed
# or deleted.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
{{- end }}
{{- end }}
