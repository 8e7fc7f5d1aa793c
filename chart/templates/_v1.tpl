{{/*
For other charts, each taking (dict "root" $ "values" .Values.<alias>):
  mooring.v1.initContainer            the init container, as an item of a pod's initContainers
  mooring.v1.volumes                  the volumes that it mounts, as items of a pod's volumes
  mooring.v1.env                      its environment, as items of a container's env
  mooring.v1.progressDeadlineSeconds  the Deployment's deadline that follows from its waits
Named templates are global: the v1 lets an umbrella chart have services whose charts use different Moorings.
*/}}

{{- define "mooring.v1.initContainer" -}}
{{- if not (kindIs "map" .values) -}}
{{- fail "mooring.v1.initContainer: call it with (dict \"root\" $ \"values\" .Values.<alias>), the alias being that of the dependency on mooring" -}}
{{- end -}}
{{- include "mooring.v1.refuse" (include "mooring.v1.problems" . | fromJsonArray) -}}
{{- $values := .values -}}
- name: migrate
  image: {{ include "mooring.v1.image" $values.image | quote }}
  imagePullPolicy: {{ $values.image.pullPolicy }}
  env:
    {{- include "mooring.v1.env" . | nindent 4 }}
  {{- with $values.extraEnvFrom }}
  envFrom:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.securityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  # Mooring writes the last word itself, on success too.
  terminationMessagePolicy: File
  {{- with $values.extraVolumeMounts }}
  volumeMounts:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "mooring.v1.volumes" -}}
{{- with .values.extraVolumes }}
{{- toYaml . }}
{{- end }}
{{- end }}

{{- define "mooring.v1.env" -}}
{{- $values := .values -}}
{{- $database := $values.database -}}
{{- $settings := list
  (list "MOORING_SERVICE" $values.service)
  (list "MOORING_VERSION_TABLE" $values.versionTable)
  (list "MOORING_EXPECTED_TABLES" $values.expectedTables)
  (list "MOORING_FORMAT" $values.format)
  (list "MOORING_MIGRATIONS" $values.path)
  (list "MOORING_IGNORE" $values.ignore)
  (list "MOORING_WAIT" $values.wait)
  (list "MOORING_LOCK_WAIT" $values.lockWait)
  (list "MOORING_LOCK_TIMEOUT" $values.lockTimeout)
  (list "MOORING_STATEMENT_TIMEOUT" $values.statementTimeout)
  (list "MOORING_OUT_OF_ORDER" $values.outOfOrder)
  (list "MOORING_SQUASHED" $values.squashed)
  (list "MOORING_ALLOW_SHARED_NAME" $values.allowSharedName)
  (list "MOORING_LOG_FORMAT" $values.logFormat)
  (list "MOORING_LOG_LEVEL" $values.logLevel)
  (list "PGHOST" $database.host)
  (list "PGPORT" $database.port)
  (list "PGDATABASE" $database.dbname)
  (list "PGUSER" $database.user)
  (list "PGSSLMODE" $database.sslMode)
-}}
{{- range $option, $value := $values.toolOptions -}}
{{- $settings = append $settings (list (printf "MOORING_%s" (snakecase $option | upper)) $value) -}}
{{- end -}}
{{- $secrets := list
  (list "MOORING_DATABASE_URL" $database.urlKey)
  (list "PGHOST" $database.hostKey)
  (list "PGPORT" $database.portKey)
  (list "PGDATABASE" $database.dbnameKey)
  (list "PGUSER" $database.userKey)
  (list "PGPASSWORD" $database.passwordKey)
-}}
{{- /* One name twice is an error of server-side apply, so whatever extraEnv has is left out here. */ -}}
{{- $extra := dict -}}
{{- range $values.extraEnv }}{{ $_ := set $extra .name true }}{{ end -}}
{{- $env := list -}}
{{- range $settings -}}
{{- $name := first . -}}
{{- $value := last . -}}
{{- if and $value (not (hasKey $extra $name)) -}}
{{- $text := ternary (toJson $value) (toString $value) (kindIs "slice" $value) -}}
{{- $env = append $env (dict "name" $name "value" $text) -}}
{{- end -}}
{{- end -}}
{{- range $secrets -}}
{{- $name := first . -}}
{{- if and (last .) (not (hasKey $extra $name)) -}}
{{- $env = append $env (dict "name" $name "valueFrom" (dict "secretKeyRef" (dict "name" $database.secret "key" (last .)))) -}}
{{- end -}}
{{- end -}}
{{- toYaml (concat $env (default list $values.extraEnv)) -}}
{{- end }}

{{- define "mooring.v1.progressDeadlineSeconds" -}}
{{- $values := .values -}}
{{- if kindIs "invalid" $values.progressDeadlineSeconds -}}
{{- $total := 0.0 -}}
{{- range list $values.wait $values.lockWait $values.migrationBudget -}}
{{- $total = addf $total (include "mooring.v1.seconds" . | float64) -}}
{{- end -}}
{{- ceil $total | int -}}
{{- else -}}
{{- $values.progressDeadlineSeconds | int -}}
{{- end -}}
{{- end }}

{{/* What is missing or contradictory: the schema sees only one value at a time, and its words are not for people. */}}
{{- define "mooring.v1.problems" -}}
{{- $values := .values -}}
{{- $database := $values.database -}}
{{- $problems := list -}}
{{- if not $values.service -}}
{{- $problems = append $problems "service: name the service whose migrations these are" -}}
{{- end -}}
{{- $problems = concat $problems (include "mooring.v1.imageProblems" (dict "path" "image" "what" "the image with the migrations" "image" $values.image) | fromJsonArray) -}}
{{- $keys := list -}}
{{- range list "host" "port" "dbname" "user" "password" "url" -}}
{{- $key := printf "%sKey" . -}}
{{- if get $database $key -}}
{{- $keys = append $keys (printf "database.%s" $key) -}}
{{- if get $database . -}}
{{- $problems = append $problems (printf "database.%s: leave it out, or database.%s" . $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $keys (not $database.secret) -}}
{{- $problems = append $problems (printf "database.secret: name the Secret that %s %s" (join ", " $keys) (ternary "is a key of" "are keys of" (eq 1 (len $keys)))) -}}
{{- end -}}
{{- $extra := list -}}
{{- range $values.extraEnv }}{{ $extra = append $extra .name }}{{ end -}}
{{- $elsewhere := or $values.extraEnvFrom (has "MOORING_DATABASE_URL" $extra) (has "MOORING_DATABASE_URL_FILE" $extra) (has "PGSERVICE" $extra) -}}
{{- if not (or $elsewhere $database.urlKey) -}}
{{- if not (or $database.hostKey $database.host (has "PGHOST" $extra) (has "PGHOSTADDR" $extra)) -}}
{{- $problems = append $problems "database.urlKey: name the key of database.secret that has the connection's URL; or the host with database.hostKey or database.host" -}}
{{- else if not (or $database.userKey $database.user (has "PGUSER" $extra)) -}}
{{- $problems = append $problems "database.userKey: name the key of database.secret that has the user; or the user with database.user" -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end }}

{{- define "mooring.v1.refuse" -}}
{{- if . -}}
{{- fail (printf "correct these values:\n  %s" (join "\n  " .)) -}}
{{- end -}}
{{- end }}

{{- define "mooring.v1.imageProblems" -}}
{{- $problems := list -}}
{{- if not .image.repository -}}
{{- $problems = append $problems (printf "%s.repository: name %s" .path .what) -}}
{{- end -}}
{{- if not (or .image.tag .image.digest) -}}
{{- $problems = append $problems (printf "%s.tag: say which version of it, or %s.digest" .path .path) -}}
{{- end -}}
{{- toJson $problems -}}
{{- end }}

{{- define "mooring.v1.image" -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository .tag -}}
{{- end -}}
{{- end }}

{{/* A duration of Mooring's, such as 90s or 1.5h, in seconds. */}}
{{- define "mooring.v1.seconds" -}}
{{- $unit := get (dict "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0) (regexFind "[a-z]+" .) -}}
{{- mulf (regexFind "[0-9.]+" . | float64) $unit -}}
{{- end }}
