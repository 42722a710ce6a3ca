"""The platform at Modal: volumes, jobs, servers and releases through the `modal` client.

`platform.ModalPlatform` is all of it, as the port wants it. Below it: `jobs` and `job_container` are the two sides
of a job, `servers` and `server_container` those of a candidate, `releases` is the live app, `lease` holds it for one
run, `definitions` and `images` say what is asked for, `errors` puts Modal's errors into Slipway's words.

Nothing is imported here: containers import two of these modules, and every import is part of their cold start.
"""
