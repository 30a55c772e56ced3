-- A model, one hash at KEYS[1], its numbers as text: part of the scripts that look at it. Here are its fields, and what they
-- are in a model of which nothing is known; a field that is not in the hash is as it is here. Times are Unix ms.
local MODEL = {
  -- Of each measure the decayed sums of welford.rs, and the latest time: of the time to the first token, ms per token after
  -- it, failures (0 or 1 of each attempt), and failures since the breaker was last closed.
  ['ttft_ms.w'] = 0, ['ttft_ms.w2'] = 0, ['ttft_ms.mean'] = 0, ['ttft_ms.s'] = 0, ['ttft_ms.t_ms'] = 0,
  ['ms_per_token.w'] = 0, ['ms_per_token.w2'] = 0, ['ms_per_token.mean'] = 0, ['ms_per_token.s'] = 0,
  ['ms_per_token.t_ms'] = 0,
  ['failure.w'] = 0, ['failure.w2'] = 0, ['failure.mean'] = 0, ['failure.s'] = 0, ['failure.t_ms'] = 0,
  ['breaker.evidence.w'] = 0, ['breaker.evidence.w2'] = 0, ['breaker.evidence.mean'] = 0, ['breaker.evidence.s'] = 0,
  ['breaker.evidence.t_ms'] = 0,
  -- The run of failures, when its first call began, and how many answers came since to calls that had begun before.
  ['breaker.consecutive_failures'] = 0, ['breaker.run_from_ms'] = 0, ['breaker.late_answers'] = 0,
  ['breaker.opened_in_a_row'] = 0, ['breaker.open_until_ms'] = 0, ['breaker.probe_until_ms'] = 0,
  ['breaker.counts_from_ms'] = 0, ['breaker.changed_at_ms'] = 0, ['breaker.out_since_ms'] = 0,
  -- The breaker that refusals open.
  ['refusals.opened_in_a_row'] = 0, ['refusals.open_until_ms'] = 0, ['refusals.probe_until_ms'] = 0,
  ['refusals.counts_from_ms'] = 0, ['refusals.changed_at_ms'] = 0, ['refusals.out_since_ms'] = 0,
  -- Marks of the latest two requests that were refused with no answer in between, 0 for none; and of the one tenant whom
  -- refusals concern, 0 for everybody.
  ['refusals.latest'] = 0, ['refusals.earlier'] = 0, ['refusals.tenant'] = 0,
  -- When the first call of that run began, and how many answers came since to calls that had begun before.
  ['refusals.run_from_ms'] = 0, ['refusals.late_answers'] = 0,
  ['cooldown_until_ms'] = 0, ['cooled_at_ms'] = 0, -- when the cooldown ends, and when it was noted
  -- When it first failed since it was last well, 0 while it is well; and when it was last found well, having not been so.
  ['unwell_since_ms'] = 0, ['well_since_ms'] = 0,
  ['probe_leased_to'] = 0, -- a random number
  ['times_written'] = 0,
  ['batches'] = '', -- the latest four that were recorded, ",<12 hexadecimal digits>" each
}

-- Ends the spans of the breaker `of`, of which one is yet to begin.
local function end_spans(model, of, now)
  for _, field in ipairs({'.open_until_ms', '.probe_until_ms', '.counts_from_ms', '.changed_at_ms', '.out_since_ms'}) do
    model[of .. field] = math.min(model[of .. field], now)
  end
end

-- The model, without what a clock that was ahead of this one by more than a second wrote: such spans are over. What is set in
-- it is what `write_model` writes.
local function read_model(now)
  local flat = redis.call('HGETALL', KEYS[1])
  for i = 1, #flat, 2 do MODEL[flat[i]] = tonumber(flat[i + 1]) or flat[i + 1] end
  local model, latest = setmetatable({}, {__index = MODEL}), now + 1000
  if model['breaker.changed_at_ms'] > latest then end_spans(model, 'breaker', now) end
  if model['refusals.changed_at_ms'] > latest then end_spans(model, 'refusals', now) end
  if model['cooled_at_ms'] > latest then model['cooldown_until_ms'], model['cooled_at_ms'] = 0, 0 end
  if model['ttft_ms.t_ms'] > latest then model['ttft_ms.t_ms'] = now end
  if model['ms_per_token.t_ms'] > latest then model['ms_per_token.t_ms'] = now end
  if model['failure.t_ms'] > latest then model['failure.t_ms'] = now end
  if model['breaker.evidence.t_ms'] > latest then model['breaker.evidence.t_ms'] = now end
  return model
end

-- Writes what was set. The server makes text of Lua's numbers that reads back as the same double: with 17 digits, or as many
-- as it takes.
local function write_model(model)
  model['times_written'] = model['times_written'] + 1
  local fields, last = {}, 0
  for field, value in pairs(model) do
    fields[last + 1], fields[last + 2], last = field, value, last + 2
  end
  redis.call('HSET', KEYS[1], unpack(fields, 1, last))
end
