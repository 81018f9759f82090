package runner

import "context"

// SetWatch has r learn of changes of the manifest's files from watch, since events of
// files do not come in a bubble of testing/synctest.
func (r *Runner) SetWatch(watch func(ctx context.Context, changed func())) { r.watch = watch }
