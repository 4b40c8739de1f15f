{{- define "podrole.selector" -}}
app.kubernetes.io/name: podrole
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "podrole.labels" -}}
{{ include "podrole.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "podrole.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- /* Who the agent is to the API server. */ -}}
{{- define "podrole.user" -}}
system:serviceaccount:{{ .Release.Namespace }}:podrole
{{- end }}

{{- /* What the schema says too, where it is asked. */ -}}
{{- define "podrole.checked" -}}
{{- if not .Values.mode -}}
{{- fail "mode is required and has no default: audit looks, enforce acts; start with --set mode=audit" -}}
{{- end -}}
{{- end }}

{{- /* The variables of the agent's flags: name and value, sorted by the setting's name. */ -}}
{{- define "podrole.settings" -}}
{{- $settings := merge (dict "mode" .Values.mode) .Values.settings -}}
{{- if .Values.clusterName }}{{ $_ := set $settings "clusterName" .Values.clusterName }}{{ end -}}
{{- if ne .Values.kubeletDir "/var/lib/kubelet" }}{{ $_ := set $settings "kubeletDir" .Values.kubeletDir }}{{ end -}}
{{- range $name, $value := $settings }}
- name: PODROLE_{{ $name | kebabcase | replace "-" "_" | upper }}
  value: {{ if kindIs "slice" $value }}{{ join "," $value | quote }}{{ else }}{{ toString $value | quote }}{{ end }}
{{- end }}
{{- end }}

{{- /* The port of /metrics, for what scrapes it. */ -}}
{{- define "podrole.adminPort" -}}
{{- regexFind "[0-9]+$" (.Values.settings.adminListen | default "[::]:16926") -}}
{{- end }}

{{- define "podrole.hasPolicies" -}}
{{- if semverCompare ">=1.30-0" .Capabilities.KubeVersion.Version }}yes{{ end -}}
{{- end }}

{{- define "podrole.needsPolicies" -}}
{{- if not (include "podrole.hasPolicies" .) -}}
{{- fail (printf "%s needs ValidatingAdmissionPolicies (Kubernetes 1.30), which fence the agent's right to its own node" .what) -}}
{{- end -}}
{{- end }}

{{- define "podrole.requestsTokens" -}}
{{- if eq (toString .Values.settings.serviceAccountTokens) "request" }}yes{{ end -}}
{{- end }}
