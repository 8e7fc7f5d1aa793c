{{/* The service's name as names and labels of Kubernetes' can have it. */}}
{{- define "mooring.v1.name" -}}
{{- regexReplaceAll "[^a-z0-9-]+" (default .Values.service .Values.nameOverride | lower) "-" | trunc 63 | trimAll "-" -}}
{{- end }}

{{- define "mooring.v1.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "mooring.v1.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "mooring.v1.selectorLabels" -}}
app.kubernetes.io/name: {{ include "mooring.v1.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* The version is the service's, not Mooring's. */}}
{{- define "mooring.v1.labels" -}}
{{- $labels := dict
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/managed-by" .Release.Service
-}}
{{- with .Values.workload.image.tag -}}
{{- $_ := set $labels "app.kubernetes.io/version" (trunc 63 . | trimAll "-_.") -}}
{{- end -}}
{{- toYaml (merge (include "mooring.v1.selectorLabels" . | fromYaml) (default dict .Values.commonLabels) $labels) -}}
{{- end }}

{{- define "mooring.v1.podLabels" -}}
{{- $labels := include "mooring.v1.labels" . | fromYaml -}}
{{- toYaml (merge (include "mooring.v1.selectorLabels" . | fromYaml) (default dict .Values.podLabels) $labels) -}}
{{- end }}

{{- define "mooring.v1.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "mooring.v1.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}
