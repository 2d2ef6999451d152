"""`cai review`: a page on this machine, on which people read what was made, say what they think of it, and talk.

`plan_review` settles what is reviewed and by whom, `review` serves it until it is stopped. What people say is kept by
`cai.annotation`; the page itself is in `page/`, plain files that load nothing from elsewhere.
"""
