-- A model, one string of packed doubles, eight bytes each; part of the scripts that look at it. By place:
--   1 times opened in a row, 2 consecutive failures, 3 open until, 4 probe until, 5 counts from, 6 cooldown until, 7 prober,
--   8 times written; then w, w2, mean, s and the latest time of each measure: 9 time to first token, 14 ms per token,
--   19 failure, 24 the breaker's evidence. Times are Unix ms.

local OPENED, FAILURES, OPEN_UNTIL, PROBE_UNTIL, COUNTS_FROM, COOLDOWN, PROBER, WRITTEN = 1, 2, 3, 4, 5, 6, 7, 8
local TTFT, PER_TOKEN, FAILURE, EVIDENCE = 9, 14, 19, 24
local MODEL, PLACES = '<' .. string.rep('d', 28), 28

local function model_of(packed)
  if packed then return {struct.unpack(MODEL, packed)} end
  local model = {}
  for place = 1, PLACES do model[place] = 0 end
  return model
end

local function packed_model(model)
  model[WRITTEN] = model[WRITTEN] + 1
  return struct.pack(MODEL, unpack(model, 1, PLACES))
end
