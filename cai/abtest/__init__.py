"""`cai abtest`: two models in front of real users; how many users that takes, and what they did.

`plan` says how many units (users, or conversations where users are not known) a difference needs, `read` what feedback
says of two models and what to do about it. Nothing is served and nobody is assigned here: that is the deployment's.
"""
