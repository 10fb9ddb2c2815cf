{{/*
The pod template of a Ray head or worker. Takes a dict: root (the chart's context), container (its name),
group (its values), gpus (how many, 0 for none), compiled (the claim for what vLLM compiles, or nothing).
*/}}
{{- define "assay.rayPod" -}}
{{- $root := .root -}}
{{- /* No labels here: KubeRay sets its own, app.kubernetes.io/name too, and selects the head by them. */}}
metadata:
  annotations:
    # The cluster autoscaler is not to evict a pod to save a node: the night's runs would go with it.
    cluster-autoscaler.kubernetes.io/safe-to-evict: "false"
spec:
  serviceAccountName: {{ include "assay.serviceAccount" $root }}
  # Only Ray's autoscaler talks to Kubernetes. Its token is a volume that its container alone mounts (autoscalerOptions),
  # because the head's other container runs the jobs' drivers.
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with $root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 1000
    runAsGroup: 1000
    fsGroup: 1000
    # Else a volume of many small files is gone through at each pod's start.
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
  containers:
    - name: {{ .container }}
      image: {{ printf "%s:%s" $root.Values.image.repository (default (printf "%s-gpu" $root.Chart.AppVersion) $root.Values.image.tag) | quote }}
      imagePullPolicy: {{ default "IfNotPresent" $root.Values.image.pullPolicy }}
      securityContext:
        {{- include "assay.containerSecurity" $root | nindent 8 }}
      envFrom:
        - configMapRef:
            name: {{ include "assay.fullname" $root }}-settings
        {{- with $root.Values.s3.existingSecret }}
        - secretRef:
            name: {{ . }}
        {{- end }}
        {{- with $root.Values.judge.existingSecret }}
        - secretRef:
            name: {{ . }}
        {{- end }}
      {{- if eq .container "ray-head" }}
      ports:
        - {name: gcs-server, containerPort: 6379}
        - {name: dashboard, containerPort: 8265}
        - {name: metrics, containerPort: 8080}
      {{- else }}
      ports:
        - {name: metrics, containerPort: 8080}
      {{- end }}
      env:
        # A folder of this pod alone, whatever volume is mounted on the home's cache.
        - {name: ASSAY_CACHE, value: /tmp/assay-cache}
        # A data set by its name on a hub is copied here: into the scratch, which has room.
        - {name: HF_HOME, value: /tmp/hf}
      resources:
        requests:
          {{- toYaml .group.resources.requests | nindent 10 }}
          ephemeral-storage: {{ .group.scratch }}
        limits:
          {{- toYaml .group.resources.limits | nindent 10 }}
          ephemeral-storage: {{ include "assay.ephemeralLimit" .group }}
          {{- if .gpus }}
          nvidia.com/gpu: {{ .gpus }}
          {{- end }}
      volumeMounts:
        - {name: shared-memory, mountPath: /dev/shm}
        - {name: scratch, mountPath: /tmp}
        # The image is read-only: what libraries write below their home goes here.
        - {name: home, mountPath: /home/assay}
        - {name: suites, mountPath: /etc/assay/suites, readOnly: true}
        {{- if .compiled }}
        - {name: compiled, mountPath: /home/assay/.cache}
        {{- end }}
  volumes:
    - name: shared-memory
      emptyDir:
        medium: Memory
        sizeLimit: {{ .group.sharedMemory }}
    # Ray's session, what its object store spills, and the copies of checkpoints. A pod that fills it is evicted alone,
    # before it fills its node.
    - name: scratch
      emptyDir:
        sizeLimit: {{ .group.scratch }}
    - name: home
      emptyDir:
        sizeLimit: 5Gi
    {{- if and (eq .container "ray-head") $root.Values.ray.autoscaling.enabled }}
    - name: kubernetes-token
      projected:
        sources:
          - serviceAccountToken: {path: token, expirationSeconds: 3607}
          - configMap:
              name: kube-root-ca.crt
              items: [{key: ca.crt, path: ca.crt}]
          - downwardAPI:
              items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]
    {{- end }}
    - name: suites
      configMap:
        name: {{ include "assay.fullname" $root }}-suites
    {{- with .compiled }}
    # What vLLM compiled: it outlives the pod.
    - name: compiled
      persistentVolumeClaim:
        claimName: {{ . }}
    {{- end }}
  {{- with .group.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .group.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .group.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "assay.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* What a pod may keep on its node's disk: its scratch, its home and its logs. */}}
{{- define "assay.ephemeralLimit" -}}
{{- printf "%dGi" (add (trimSuffix "Gi" .scratch | atoi) 10) -}}
{{- end -}}
