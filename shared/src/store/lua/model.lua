-- A model, one string of packed doubles, eight bytes each; part of the scripts that look at it. By place, of a breaker:
local OPENED = 1        -- times opened in a row
local OPEN_UNTIL, PROBE_UNTIL, COUNTS_FROM, CHANGED = 2, 3, 4, 5 -- Unix ms
local REFUSED = 5       -- how many places further on the same of the breaker for refusals stands
local FAILURES = 11     -- consecutive failures
local REQUEST, EARLIER = 12, 13 -- the latest two requests that were refused with no answer in between, 0 for none
local TENANT = 14       -- the one tenant whom refusals concern, 0 for everybody
local COOLDOWN_UNTIL, COOLED = 15, 16 -- Unix ms: when the cooldown ends, when it was noted
local PROBER = 17       -- who has the lease of the probe
local WRITTEN = 18      -- times written
-- Then w, w2, mean, s and the latest time, in Unix ms, of each measure:
local TTFT, PER_TOKEN, FAILURE, EVIDENCE = 19, 24, 29, 34 -- of time to first token, ms per token, failures, the breaker
local BATCHES = 39      -- the latest four batches that were recorded
local PLACES, BYTES, MODEL = 42, 336, '<dddddddddddddddddddddddddddddddddddddddddd'

-- The model at KEYS[1], without what a clock that was ahead of this one by more than a second wrote: such spans are over.
local function read_model(packed, now)
  local model = {struct.unpack(MODEL, packed or string.rep('\0', BYTES))}
  local latest = now + 1000
  for at = 0, REFUSED, REFUSED do
    if model[at + CHANGED] > latest then
      for place = at + OPEN_UNTIL, at + CHANGED do model[place] = math.min(model[place], now) end
    end
  end
  if model[COOLED] > latest then model[COOLDOWN_UNTIL], model[COOLED] = 0, 0 end
  for of = TTFT, EVIDENCE, 5 do
    if model[of + 4] > latest then model[of + 4] = now end
  end
  return model
end
