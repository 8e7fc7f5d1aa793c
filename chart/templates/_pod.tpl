{{/* Refuse what is missing or contradictory for the service's own container as well as for Mooring's, all of it at once. */}}
{{- define "mooring.v1.checkWorkload" -}}
{{- $problems := include "mooring.v1.problems" (dict "root" $ "values" .Values) | fromJsonArray -}}
{{- if and .Values.service (not (include "mooring.v1.name" .)) -}}
{{- $problems = append $problems "nameOverride: give the objects a name of letters, digits and hyphens, which the service's has not" -}}
{{- end -}}
{{- $image := dict "path" "workload.image" "what" "the service's own image" "image" .Values.workload.image -}}
{{- include "mooring.v1.refuse" (concat $problems (include "mooring.v1.imageProblems" $image | fromJsonArray)) -}}
{{- end }}

{{/* What the service's pods and the pod of `helm test` have in common. */}}
{{- define "mooring.v1.pod" -}}
serviceAccountName: {{ include "mooring.v1.serviceAccountName" . }}
automountServiceAccountToken: {{ .Values.serviceAccount.automount }}
# The variables of a Service that is called mooring would look like settings.
enableServiceLinks: false
{{- range $key, $name := dict "imagePullSecrets" "imagePullSecrets" "podSecurityContext" "securityContext" "nodeSelector" "nodeSelector" "tolerations" "tolerations" }}
{{- with get $.Values $key }}
{{ $name }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}
