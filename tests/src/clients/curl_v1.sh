# As old scripts do it: no token, fields by grep and cut.
service=http://169.254.169.254/latest/meta-data
start=$(date +%s%N)
role=$(curl -sf "$service/iam/security-credentials/") || { echo null; exit 0; }
document=$(curl -sf "$service/iam/security-credentials/$role") || { echo null; exit 0; }
field() {
    echo "$document" | grep "$1" | cut -d'"' -f4
}
took=$((($(date +%s%N) - start) / 1000000))
zone=${ASK_REGION:+$(curl -sf "$service/placement/availability-zone")}
printf '{"access_key_id":"%s","secret_access_key":"%s","token":"%s","expiration":"%s","took_ms":%d' \
    "$(field AccessKeyId)" "$(field SecretAccessKey)" "$(field Token)" "$(field Expiration)" "$took"
printf ',"version":"%s"%s}\n' "$(curl --version | awk 'NR==1{print $2}')" "${zone:+,\"region\":\"${zone%[a-z]}\"}"
