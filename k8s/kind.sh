#!/usr/bin/env bash
# A cluster on this machine, with KubeRay, the store and the images:  k8s/kind.sh up | down. Running `up` again does what is missing.
# Variables: CLUSTER, NODE_IMAGE, KUBERAY_MANIFEST, IMAGES, SKIP_NETPOL (see the Makefile).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
cluster=${CLUSTER:-cbt-ray} namespace=cbt-ray
say() { printf '[%3d s] %s\n' "$SECONDS" "$*"; }
kubectl() { command kubectl --context "kind-$cluster" "$@"; }
for program in kind kubectl docker; do
  command -v "$program" >/dev/null || { echo "kind: expected $program on the PATH" >&2; exit 2; }
done

# Bring images to the nodes that run pods, unless they have them; what this machine lacks is pulled by the nodes themselves.
load() {
  local missing=() image node nodes
  nodes=$(kind get nodes --name "$cluster" | grep -v control-plane)
  for image in "$@"; do
    docker image inspect "$image" >/dev/null 2>&1 || { say "$image is not on this machine; the nodes will pull it"; continue; }
    for node in $nodes; do
      docker exec "$node" ctr --namespace k8s.io images ls -q | grep -E "(^|/)$image\$" >/dev/null || { missing+=("$image"); break; }
    done
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  say "loading ${missing[*]}"
  # All at once: layers that images share travel once.
  kind load docker-image "${missing[@]}" --name "$cluster" --nodes "$(paste -sd, <<<"$nodes")" >/dev/null 2>&1
}

# Random credentials of the store: they exist in the cluster and nowhere else.
make_credentials() {
  kubectl --namespace $namespace get secret store >/dev/null 2>&1 && return
  local folder; folder=$(mktemp -d)
  head -c 15 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$folder/AWS_ACCESS_KEY_ID"
  head -c 30 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$folder/AWS_SECRET_ACCESS_KEY"
  kubectl --namespace $namespace create secret generic store --from-file="$folder" >/dev/null
  rm -rf "$folder"
}

up() {
  if ! kind get clusters 2>/dev/null | grep -qx "$cluster"; then
    say "cluster $cluster: creating (3 nodes)"
    kind create cluster --name "$cluster" --image "$NODE_IMAGE" --config kind.yaml --wait 300s --quiet
  fi
  say "KubeRay"
  local rendered; rendered=$(mktemp)
  if [ -f "$KUBERAY_MANIFEST" ]; then cp "$KUBERAY_MANIFEST" "$rendered"; else kubectl kustomize "$KUBERAY_MANIFEST" >"$rendered"; fi
  # shellcheck disable=SC2046  # one word an image
  load $(sed -n 's/^ *image: *\(.*kuberay.*operator.*\)$/\1/p' "$rendered")
  kubectl apply --server-side --force-conflicts -f "$rendered" >/dev/null
  rm -f "$rendered"
  say "namespace, policies, store"
  local platform; platform=$(kubectl kustomize overlays/kind)
  load $(sed -n 's/^ *\(- \)\{0,1\}image: *//p' <<<"$platform" | grep -v ':unset$' | sort -u)
  kubectl apply -f base/namespace.yaml >/dev/null
  make_credentials
  [ -z "${SKIP_NETPOL:-}" ] || platform=$(without_policies <<<"$platform")
  # The bucket's Job is made anew: a Job's template cannot be changed.
  kubectl --namespace $namespace delete job bucket --ignore-not-found >/dev/null
  kubectl apply -l '!cbt-ray/template' -f - <<<"$platform"
  say "waiting for the store"
  kubectl --namespace $namespace wait --for=condition=Complete --timeout=300s job/bucket >/dev/null || unready
  # shellcheck disable=SC2086  # one word an image
  load ${IMAGES:-}
  say "waiting for KubeRay"
  kubectl wait --for=condition=Available --timeout=300s deployment/kuberay-operator >/dev/null || unready
  say "ready: make study-kind"
}

# What was waited for did not come: say why, as far as the cluster knows it. A limit that kind is known to meet is said by its name.
unready() {
  {
    kubectl get pods --all-namespaces --output wide
    kubectl get events --all-namespaces --field-selector type=Warning --sort-by .lastTimestamp | tail -20
    kubectl --namespace $namespace logs job/bucket --all-containers --tail 5
    docker exec "$cluster-control-plane" sh -c 'df -h /var | tail -1; sysctl fs.inotify.max_user_instances'
  } >&2 || true
  echo "kind: expected the cluster to be ready within 5 minutes; a disk that is full or few inotify instances hinder it" \
    "(https://kind.sigs.k8s.io/docs/user/known-issues); k8s/kind.sh down, then up, begins anew" >&2
  exit 1
}

# All documents of a stream but the NetworkPolicies.
without_policies() { awk 'BEGIN { RS = "\n---\n"; ORS = "\n---\n" } !/\nkind: NetworkPolicy(\n|$)/'; }

case ${1:-} in
  up) up ;;
  down) kind delete cluster --name "$cluster" ;;
  *) echo "usage: k8s/kind.sh up|down" >&2; exit 2 ;;
esac
