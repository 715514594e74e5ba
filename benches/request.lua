-- Makes the requests that wrk sends. It reads these environment variables:
-- TOKENS: a file with one token a line. The tokens are used in turn.
-- METHOD, and PATHS: a file with one path a line. The paths are used in turn.
-- BODY: the body. `%d` in it is replaced by a number. Or BODIES: a file with one body a line. The bodies are used in turn.
-- CHANGES: a file with one path a line. If it is set, every hundredth request is a PATCH with BODY of one of them.
local function lines(name)
    local all = {}
    for line in io.lines(name) do all[#all + 1] = line end
    return all
end

local method, body = os.getenv("METHOD"), os.getenv("BODY")
local bodies = os.getenv("BODIES") and lines(os.getenv("BODIES"))
local paths, number, sent = lines(os.getenv("PATHS")), math.random(1e9), 0
local changes = os.getenv("CHANGES") and lines(os.getenv("CHANGES"))
local callers = {}
for at, token in ipairs(lines(os.getenv("TOKENS"))) do
    callers[at] = { ["Content-Type"] = "application/json", ["Authorization"] = "Bearer " .. token }
end

function request()
    number, sent = number + 1, sent + 1
    local headers = callers[sent % #callers + 1]
    if changes and sent % 100 == 0 then
        return wrk.format("PATCH", changes[number % #changes + 1], headers, body:format(number))
    end
    local sends = bodies and bodies[number % #bodies + 1] or method ~= "GET" and body:format(number) or nil
    return wrk.format(method, paths[number % #paths + 1], headers, sends)
end

if bodies then
    -- Of these requests there are few, so that each answer can be looked at.
    function response(status, _, answer)
        if status >= 400 then io.stderr:write("bench: ", status, " ", answer, "\n") end
    end
end

function done(summary, latency)
    local errors = summary.errors
    io.write(string.format('{"requests": %d, "micros": %d, "p50": %d, "p99": %d, "errors": %d}\n', summary.requests,
        summary.duration, latency:percentile(50), latency:percentile(99),
        errors.status + errors.connect + errors.read + errors.write + errors.timeout))
end
