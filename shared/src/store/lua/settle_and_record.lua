-- Settles a request and, unless that was done before, records what was seen of its model: one script where a server has
-- both, because each further script costs the server more than its work.
--
-- KEYS  1 tenant   2 what became of the request   3 the model
-- ARGV  1 … 3 as record.lua   4 … as settle.lua
-- Answers {what settle.lua answers, what record.lua answers or nil}.

local settled = settle(KEYS, {unpack(ARGV, 4)})
return {settled, settled > 0 and record({KEYS[3]}, ARGV) or nil}
