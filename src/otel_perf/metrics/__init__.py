"""Numbers over time: statistics of functions, and what the process and the machine are doing, once a second."""
