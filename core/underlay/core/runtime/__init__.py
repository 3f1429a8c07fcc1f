"""Process plumbing that knows nothing of networks.

clock        time as an argument
aio          keyed queue, bounded threads, supervised tasks
sharing      many askers, few questions: single flights and batches
logging      JSON lines on stderr
checkpoints  named points at which a crash is worth testing
config       a settings file becomes a frozen value
"""
