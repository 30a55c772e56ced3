-- A model, one string of packed doubles, eight bytes each; part of the scripts that look at it. By place:
local OPENED = 1        -- times opened in a row
local FAILURES = 2      -- consecutive failures
local OPEN_UNTIL, PROBE_UNTIL, COUNTS_FROM, COOLDOWN_UNTIL = 3, 4, 5, 6 -- Unix ms
local PROBER = 7        -- who has the lease of the probe
local WRITTEN = 8       -- times written
-- Then w, w2, mean, s and the latest time, in Unix ms, of each measure:
local TTFT, PER_TOKEN, FAILURE, EVIDENCE = 9, 14, 19, 24 -- of time to first token, ms per token, failures, the breaker
local BATCHES = 29      -- the latest four batches that were recorded
local PLACES, BYTES, MODEL = 32, 256, '<dddddddddddddddddddddddddddddddd'
