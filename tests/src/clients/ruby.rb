require "json"
require "aws-sdk-core"

def now
  Process.clock_gettime(Process::CLOCK_MONOTONIC)
end

start = now
found = Aws::CredentialProviderChain.new.resolve
took = now - start
if found.nil? || !found.set?
  puts "null"
else
  puts JSON.generate(
    version: Aws::CORE_GEM_VERSION,
    access_key_id: found.credentials.access_key_id,
    secret_access_key: found.credentials.secret_access_key,
    token: found.credentials.session_token,
    expiration: found.expiration.utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
    took_ms: (took * 1000).round
  )
end
