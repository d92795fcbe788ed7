"""What runs in the thread of the caller: decorator, wrapper, ladder. No I/O.

decorator         `@degradable`
flag              `Flag`, and how it is bound to a runtime
flag_checks       checks of what a declaration says
registry          declared flags by name, and declaring again
wrapper_codegen   generates the wrapper of a function
callables         wrappers of callables that are no functions
awaitables        plain functions whose results are awaited
guarded_function  a call that is not plainly healthy, step by step
guarded_block     `with flag.call() as call:`
ladder_walk       the way down the ladder
step_driver       runs steps for functions and coroutines
attempt           start, end and class of one call, each recorded once
call_site         whether an exception met the function or our instructions
deadline          bounds what the caller of a coroutine waits
outcomes          what an exception means
"""
