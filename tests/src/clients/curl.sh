# As scripts do it: a token, the role's name, the document, its fields by awk.
service=http://169.254.169.254/latest
start=$(date +%s%N)
token=$(curl --fail --silent --show-error --max-time 3 --request PUT \
    --header 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$service/api/token") || exit 1
get() {
    curl --fail --silent --max-time 3 --header "X-aws-ec2-metadata-token: $token" "$service/$1"
}
role=$(get meta-data/iam/security-credentials/) || { echo null; exit 0; }
document=$(get "meta-data/iam/security-credentials/$role") || { echo null; exit 0; }
field() {
    printf '%s\n' "$document" | awk -F'"' "/\"$1\"/"'{print $4}'
}
took=$((($(date +%s%N) - start) / 1000000))
region=${ASK_REGION:+$(get meta-data/placement/region)}
printf '{"access_key_id":"%s","secret_access_key":"%s","token":"%s","expiration":"%s","took_ms":%d' \
    "$(field AccessKeyId)" "$(field SecretAccessKey)" "$(field Token)" "$(field Expiration)" "$took"
printf ',"version":"%s"%s}\n' "$(curl --version | awk 'NR==1{print $2}')" "${region:+,\"region\":\"$region\"}"
