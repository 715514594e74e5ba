-- What wrk sends. From the environment: TOKEN, METHOD, PATHS (a file with one path a line), BODY (`%d` in it becomes a number),
-- and CHANGES (a file with one path a line): of 100 requests, one is then a PATCH with BODY.
local function lines(name)
    local all = {}
    for line in io.lines(name) do all[#all + 1] = line end
    return all
end

local method, body, token = os.getenv("METHOD"), os.getenv("BODY"), os.getenv("TOKEN")
local paths, number, sent = lines(os.getenv("PATHS")), math.random(1e9), 0
local changes = os.getenv("CHANGES") and lines(os.getenv("CHANGES"))
local headers = { ["Content-Type"] = "application/json" }
if token then headers["Authorization"] = "Bearer " .. token end

function request()
    number, sent = number + 1, sent + 1
    if changes and sent % 100 == 0 then
        return wrk.format("PATCH", changes[number % #changes + 1], headers, body:format(number))
    end
    return wrk.format(method, paths[number % #paths + 1], headers, method ~= "GET" and body:format(number) or nil)
end

function done(summary, latency)
    local errors = summary.errors
    io.write(string.format('{"requests": %d, "micros": %d, "p50": %d, "p99": %d, "errors": %d}\n', summary.requests,
        summary.duration, latency:percentile(50), latency:percentile(99),
        errors.status + errors.connect + errors.read + errors.write + errors.timeout))
end
