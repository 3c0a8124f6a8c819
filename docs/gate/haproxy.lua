-- Asks Gatekey whether a request may pass. See haproxy.cfg.

local GATEKEY = "http://127.0.0.1:8081/gate/forward"

-- What Gatekey sets, in place of what the client sent.
local IDENTITY = {
    "authorization",
    "flyte-authorization",
    "x-auth-request-user",
    "x-auth-request-email",
    "x-auth-request-roles",
    "x-auth-request-organization",
}

-- What of Gatekey's refusal reaches the client.
local REFUSAL = {
    "content-type", "www-authenticate", "retry-after", "ratelimit", "ratelimit-policy",
    "grpc-status", "grpc-message",
}

local function refuse(txn, status, headers, body)
    local reply = txn:reply()
    reply:set_status(status)
    for name, value in pairs(headers) do
        reply:add_header(name, value)
    end
    reply:set_body(body)
    txn:done(reply)
end

-- Names that HAProxy would not tell apart from these after a proxy behind it mapped them.
local function plain(name)
    return (name:lower():gsub("[^a-z0-9]", "-"))
end

core.register_action("gatekey", { "http-req" }, function(txn)
    local sent = txn.http:req_get_headers()
    local asked = {
        ["x-forwarded-method"] = { txn.sf:method() },
        ["x-forwarded-proto"] = { "https" },
        ["x-forwarded-host"] = { txn.sf:req_hdr("host") },
        ["x-forwarded-uri"] = { txn.sf:pathq() },
        ["x-forwarded-for"] = { txn.sf:src() },
    }
    -- The credential, as it was sent: every line of it.
    for _, name in ipairs({ "authorization", "flyte-authorization", "content-type", "accept", "te" }) do
        if sent[name] then
            asked[name] = {}
            for index = 0, #sent[name] do
                asked[name][index + 1] = sent[name][index]
            end
        end
    end

    local answer = core.httpclient():get { url = GATEKEY, headers = asked, timeout = 5000 }
    if answer == nil or answer.status == nil or answer.status == 0 or answer.status >= 500 then
        return refuse(txn, 503, { ["content-type"] = "application/json", ["retry-after"] = "5" },
            '{"code":"unavailable","message":"Flyte or its gate is unavailable"}')
    end
    if answer.status ~= 200 then
        local headers = {}
        for _, name in ipairs(REFUSAL) do
            if answer.headers[name] then headers[name] = answer.headers[name][0] end
        end
        return refuse(txn, answer.status, headers, answer.body or "")
    end

    for name in pairs(sent) do
        for _, identity in ipairs(IDENTITY) do
            if plain(name) == identity then txn.http:req_del_header(name) end
        end
    end
    for _, name in ipairs(IDENTITY) do
        local value = answer.headers[name] and answer.headers[name][0]
        if value and value ~= "" then txn.http:req_set_header(name, value) end
    end
end)
