# The AWS CLI signs a URL, with no network but the metadata service's, and the URL names what it signed
# with. $AWS is its program.
start=$(date +%s%N)
if ! url=$("$AWS" s3 presign s3://bucket/key --region us-west-2 2>&1); then
    case $url in
    *"nable to locate credentials"*) echo "$url" >&2; echo null; exit 0 ;;
    *) echo "$url" >&2; exit 1 ;;
    esac
fi
took=$((($(date +%s%N) - start) / 1000000))
field() {
    local value=${url#*"$1="}
    value=${value%%&*}
    printf '%b' "${value//%/\\x}"
}
# Version 1 signs as S3 did first, version 2 with Signature Version 4.
case $url in
*AWSAccessKeyId=*) key=$(field AWSAccessKeyId) token=$(field x-amz-security-token) ;;
*) key=$(field X-Amz-Credential) token=$(field X-Amz-Security-Token) ;;
esac
printf '{"version": "%s", "took_ms": %d, "access_key_id": "%s", "token": "%s"}' \
    "$("$AWS" --version | sed 's,^aws-cli/\([^ ]*\) .*,\1,')" "$took" "${key%%/*}" "$token"
