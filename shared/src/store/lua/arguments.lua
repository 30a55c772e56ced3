-- What the scripts that admit and end requests get and answer, packed as in tenant.lua; prelude of those. See ADR 9.
--
-- ENDING says how a request ends: the incarnation in which it was admitted, 0 if a copy of its admission may still arrive; for
-- how long its tombstone is kept, if it needs one; 1 if it is charged only in place of its hold; and what it takes more from
-- the rate of tokens, or gives back if that is below 0.

local ASK, ENDING, ANSWER = '<dddddd', '<ddddd', '<ddddddddddddd'
-- How an admission learns whether a remembered answer serves the request: it does not, it does, or the script looks.
local MISS, HIT, LOOK = 0, 1, 2
-- What an admission comes to. Which rate, quota or settings, which windows, and for how long, the ANSWER says.
local ADMITTED, RATE_LIMITED, TOO_MANY_IN_FLIGHT, CLOSED, QUOTA_EXCEEDED, STALE = 0, 1, 2, 3, 4, 5

-- verdict    one of the six
-- which      1 for the rate of requests, 2 for that of tokens, 3 and 4 for those of the key's own; 1 if the places of its own are
--            taken; 1, 2 or 3 for the quota's unit; 1 if the settings are stale
-- windows    the number of the window whose quota is exceeded; the sum of 2^(number - 1) of those that are missing
-- wait_ms    when to come again
-- requests, tokens, cost_nusd   what is held; nothing of a hit
-- is_hit     1 if a remembered answer serves it
-- Between stand the states of the rates and the incarnation, as in the STATE. Those of the rates of a key's own follow the ANSWER
-- where it has some.
local KEY_RATES = '<dddd'

local function pack_answer(answer, state)
  return struct.pack(ANSWER, answer.verdict, answer.which or 0, answer.windows or 0, answer.wait_ms or 0,
    answer.requests or 0, answer.tokens or 0, answer.cost_nusd or 0, state[REQUEST_MS], state[REQUEST_TICKS],
    state[TOKEN_MS], state[TOKEN_TICKS], state[INCARNATION], answer.is_hit or 0)
end
