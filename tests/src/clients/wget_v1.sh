# As old scripts do it, with what a small image has: no token, a line for each field.
service=http://169.254.169.254/latest/meta-data
start=$(date +%s%N)
get() {
    busybox wget -q -O - "$service/$1"
}
role=$(get iam/security-credentials/) || { echo null; exit 0; }
get "iam/security-credentials/$role" > "${document=$(mktemp)}" || { echo null; exit 0; }
field() {
    grep "\"$1\"" "$document" | cut -d'"' -f4
}
took=$((($(date +%s%N) - start) / 1000000))
zone=${ASK_REGION:+$(get placement/availability-zone)}
printf '{"access_key_id":"%s","secret_access_key":"%s","token":"%s","expiration":"%s","took_ms":%d' \
    "$(field AccessKeyId)" "$(field SecretAccessKey)" "$(field Token)" "$(field Expiration)" "$took"
printf ',"version":"%s"%s}\n' "$(busybox | awk 'NR==1{print $2}')" "${zone:+,\"region\":\"${zone%[a-z]}\"}"
rm -f "$document"
