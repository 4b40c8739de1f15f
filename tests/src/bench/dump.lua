-- Says what wrk counted: requests, microseconds, errors; then each latency and how often it was.
function done(summary, latency, requests)
  local e = summary.errors
  local errors = e.connect + e.read + e.write + e.status + e.timeout
  io.write(string.format("counted %d %d %d\n", summary.requests, summary.duration, errors))
  for i = 1, #latency do
    local microseconds, count = latency(i)
    io.write(string.format("latency %d %d\n", microseconds, count))
  end
end
